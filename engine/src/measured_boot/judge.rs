//! When a boot log is compared with the quote and when the policy is evaluated (`measured-boot.md` §6).

use super::failure::MeasuredBootFailure;
use super::parsed_log::ParsedBootLog;
use super::policy::CompiledBootPolicy;
use crate::algorithm::{Digest, HashAlgorithm};
use crate::appraise::{BootAppraiser, BootLog, BootStage};
use crate::tpm::failure::PcrFailure;
use crate::tpm::pcr_mask::PcrMask;
use crate::verdict::Failure;
use base64::Engine as _;

/// When a policy is evaluated (`measured_boot_evaluate`). The PCRs are compared with the log every time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootEvaluation {
    /// At the first attestation.
    Once,
    /// At every attestation.
    Always,
    /// The option has a value that says neither; then every evidence with a policy fails.
    Invalid(String),
}

impl BootEvaluation {
    /// The meaning of the option's value.
    #[must_use]
    pub fn from_option(value: &str) -> Self {
        match value {
            "once" => Self::Once,
            "always" => Self::Always,
            other => Self::Invalid(other.chars().take(64).collect()),
        }
    }
}

/// Which evidence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOccasion {
    /// The first of an enrolled agent.
    First,
    /// A later one.
    Later,
    /// Evidence presented without an enrolled agent. As in the reference, a policy that is evaluated once is never evaluated
    /// on it.
    OneShot,
}

impl BootOccasion {
    /// The occasion after this many good attestations.
    #[must_use]
    pub fn after(attestations: u64) -> Self {
        if attestations == 0 { Self::First } else { Self::Later }
    }
}

/// A compiled policy with the operator's settings, for one evidence.
#[derive(Debug, Clone, Copy)]
pub struct BootJudge<'p> {
    policy: &'p CompiledBootPolicy,
    evaluation: &'p BootEvaluation,
    occasion: BootOccasion,
}

impl<'p> BootJudge<'p> {
    /// Judges one evidence.
    #[must_use]
    pub fn new(policy: &'p CompiledBootPolicy, evaluation: &'p BootEvaluation, occasion: BootOccasion) -> Self {
        Self { policy, evaluation, occasion }
    }
}

impl BootAppraiser for BootJudge<'_> {
    fn read<'s>(&'s self, log: Option<&str>, bank: HashAlgorithm) -> Box<dyn BootStage + 's> {
        Box::new(JudgedLog::read(*self, log, bank))
    }
}

/// One log before its judge.
struct JudgedLog<'p> {
    judge: BootJudge<'p>,
    sent: BootLog,
    /// The log, when one was sent and nothing is wrong with it.
    log: Option<ParsedBootLog>,
    failures: Vec<MeasuredBootFailure>,
    boot_aggregates: Vec<Digest>,
}

impl<'p> JudgedLog<'p> {
    fn read(judge: BootJudge<'p>, log: Option<&str>, bank: HashAlgorithm) -> Self {
        // An empty text is no log.
        let Some(log) = log.filter(|log| !log.is_empty()) else {
            return Self { judge, sent: BootLog::Absent, log: None, failures: Vec::new(), boot_aggregates: Vec::new() };
        };
        let (log, failures) = match decode(log, bank) {
            Ok(log) => (Some(log), Vec::new()),
            Err(failure) => (None, vec![failure]),
        };
        let aggregates = log.iter().flat_map(|log| log.pcrs().boot_aggregates());
        let boot_aggregates = aggregates.flat_map(|(_, digests)| digests).collect();
        Self { judge, sent: BootLog::Sent, log, failures, boot_aggregates }
    }

    /// Whether the policy demands anything of this evidence.
    fn is_demanding(&self) -> bool {
        self.failures.is_empty() && self.judge.policy.is_demanding()
    }
}

fn decode(log: &str, bank: HashAlgorithm) -> Result<ParsedBootLog, MeasuredBootFailure> {
    let log = base64::engine::general_purpose::STANDARD
        .decode(log)
        .map_err(|error| MeasuredBootFailure::NotBase64(error.to_string()))?;
    let log = ParsedBootLog::parse(&log).map_err(MeasuredBootFailure::Malformed)?;
    match log.fit_for(bank) {
        None => Ok(log),
        Some(failure) => Err(failure),
    }
}

impl BootStage for JudgedLog<'_> {
    fn log(&self) -> BootLog {
        self.sent
    }

    fn log_failures(&self) -> &[MeasuredBootFailure] {
        &self.failures
    }

    fn boot_aggregates(&self) -> &[Digest] {
        &self.boot_aggregates
    }

    fn compared_pcrs(&self) -> PcrMask {
        if self.is_demanding() { self.judge.policy.compared_pcrs() } else { PcrMask::EMPTY }
    }

    fn compare(&self, bank: HashAlgorithm, pcr: u8, quoted: &Digest) -> Option<MeasuredBootFailure> {
        let mismatch = self.log.as_ref()?.compare(bank, pcr, quoted)?;
        Some(MeasuredBootFailure::InvalidPcr(Box::new(mismatch)))
    }

    fn evaluate(&self, judged: PcrMask) -> Vec<Failure> {
        if self.judge.policy.is_invalid() {
            return vec![Failure::Pcr(PcrFailure::InvalidBootPolicy)];
        }
        if !self.is_demanding() {
            return Vec::new();
        }
        let due = match (self.judge.evaluation, self.judge.occasion) {
            (BootEvaluation::Invalid(value), _) => {
                return vec![Failure::Pcr(PcrFailure::InvalidEvaluate(value.clone()))];
            }
            (BootEvaluation::Always, _) | (BootEvaluation::Once, BootOccasion::First) => true,
            (BootEvaluation::Once, BootOccasion::Later | BootOccasion::OneShot) => false,
        };
        if !due {
            return Vec::new();
        }
        let failure = self.judge.policy.evaluate(self.log.as_ref(), judged);
        failure.into_iter().map(Failure::MeasuredBoot).collect()
    }
}

#[cfg(test)]
mod tests;
