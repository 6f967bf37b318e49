//! Where the boot event log enters an appraisal.
//!
//! [`crate::measured_boot`] implements these traits; the PCR stage only decides when each question is asked
//! (`measured-boot.md` §6).

use crate::algorithm::{Digest, HashAlgorithm};
use crate::measured_boot::MeasuredBootFailure;
use crate::tpm::pcr_mask::PcrMask;
use crate::verdict::Failure;

/// A boot policy with the operator's settings, shared by all evidence it judges.
pub trait BootAppraiser: Sync {
    /// Reads the log of one evidence, base64 as the agent sent it; `None` when it sent none. `bank` is that of the quote.
    /// Called only after the quote was authenticated.
    fn read<'s>(&'s self, log: Option<&str>, bank: HashAlgorithm) -> Box<dyn BootStage + 's>;
}

/// Whether there is a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootLog {
    /// A log was sent; if it could not be read, there are log failures.
    Sent,
    /// No log was sent.
    Absent,
}

/// One log against one policy.
pub trait BootStage {
    /// Whether there is a log.
    fn log(&self) -> BootLog;

    /// What is wrong with the log itself; counts with or without a policy.
    fn log_failures(&self) -> &[MeasuredBootFailure];

    /// The boot aggregates of all banks, which an IMA list may start with.
    fn boot_aggregates(&self) -> &[Digest];

    /// The PCRs whose quoted value must equal the replayed one; none without a policy or with an unreadable log.
    fn compared_pcrs(&self) -> PcrMask;

    /// Compares one PCR with the log.
    fn compare(&self, bank: HashAlgorithm, pcr: u8, quoted: &Digest) -> Option<MeasuredBootFailure>;

    /// Evaluates the policy; `judged` are the PCRs whose quoted value was compared with something.
    fn evaluate(&self, judged: PcrMask) -> Vec<Failure>;
}
