//! Authenticated PCR values against the payload key, the logs and `tpm_policy` (`evidence-and-tee.md` §3 step 4).
//!
//! Every step appends to the failures and nothing stops early, so that the operator sees all that is wrong.

use super::boot_stage::{BootLog, BootStage};
use crate::ima::{ImaContext, ImaOptions, ImaState, Keyring, KeyringUse, appraise_with};
use crate::policy::CompiledRuntimePolicy;
use crate::policy::tpm_policy::TpmPolicy;
use crate::tpm::data_pcr::{DATA_PCR, extended_once};
use crate::tpm::failure::PcrFailure;
use crate::tpm::pcr_bank::PcrBank;
use crate::tpm::pcr_mask::PcrMask;
use crate::tpm::quote::Quote;
use crate::tpm::verified::Verified;
use crate::verdict::Failure;

/// The PCR into which the kernel measures files.
const IMA_PCR: u8 = 10;

/// What a measurement list is judged by.
#[derive(Debug, Clone, Copy)]
pub struct ImaTerms<'a> {
    /// The runtime policy.
    pub policy: &'a CompiledRuntimePolicy,
    /// Keys the operator trusts for file signatures.
    pub keyring: Option<&'a Keyring>,
    /// Whether signatures count.
    pub keyring_use: KeyringUse,
    /// The operator's choices.
    pub options: ImaOptions,
}

/// What PCR values are judged by.
#[derive(Clone, Copy)]
pub struct PcrContext<'a> {
    /// The operator's values.
    pub tpm_policy: &'a TpmPolicy,
    /// PCRs the quote was asked for. A quote that lacks one fails: what to quote is not the agent's choice.
    pub requested: PcrMask,
    /// The payload key PCR 16 must hold; `None` skips that check.
    pub payload_key: Option<&'a str>,
    /// The measurement list, if one was sent.
    pub ima_list: Option<&'a str>,
    /// The state the list continues.
    pub ima_state: &'a ImaState,
    /// What the list is judged by.
    pub ima: ImaTerms<'a>,
    /// The boot log and its policy.
    pub boot: Option<&'a dyn BootStage>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct PcrAppraisal {
    /// What is wrong, in the reference's order.
    pub failures: Vec<Failure>,
    /// The state of the measurement list; `None` when no list was judged.
    pub ima: Option<ImaState>,
}

/// Judges the values of an authenticated quote.
#[must_use]
pub fn appraise_pcrs(quote: &Verified<Quote>, context: &PcrContext<'_>) -> PcrAppraisal {
    judge_pcrs(&quote.pcrs, context)
}

/// Judges values that no TPM vouches for: recorded ones, to compare verdicts. Says nothing about any machine.
#[must_use]
pub fn appraise_recorded_pcrs(pcrs: &PcrBank, context: &PcrContext<'_>) -> PcrAppraisal {
    judge_pcrs(pcrs, context)
}

fn judge_pcrs(pcrs: &PcrBank, context: &PcrContext<'_>) -> PcrAppraisal {
    let mut stage = Stage { pcrs, context, judged: PcrMask::EMPTY, failures: Vec::new() };
    if let Some(boot) = context.boot {
        stage.failures.extend(boot.log_failures().iter().cloned().map(Failure::MeasuredBoot));
    }
    stage.judge_payload_key();
    let ima = stage.judge_measurement_list();
    let replay_failures = context.boot.map(|boot| stage.compare_with_boot_log(boot)).unwrap_or_default();
    stage.judge_policy_values();
    stage.failures.extend(replay_failures);
    stage.judge_absent_pcrs();
    if let Some(boot) = context.boot {
        let judged = stage.judged;
        stage.failures.extend(boot.evaluate(judged));
    }
    PcrAppraisal { failures: stage.failures, ima }
}

struct Stage<'a> {
    pcrs: &'a PcrBank,
    context: &'a PcrContext<'a>,
    /// PCRs whose value was compared with something.
    judged: PcrMask,
    failures: Vec<Failure>,
}

impl Stage<'_> {
    fn judge_payload_key(&mut self) {
        let Some(key) = self.context.payload_key else { return };
        let Some(quoted) = self.pcrs.get(DATA_PCR) else {
            self.fail(PcrFailure::MissingDataPcr);
            return;
        };
        let expected = extended_once(self.pcrs.algorithm(), key.as_bytes());
        if *quoted != expected {
            self.fail(PcrFailure::InvalidDataPcr { got: quoted.to_hex(), expected: expected.to_hex() });
        }
        self.judged = self.judged.with(DATA_PCR);
    }

    fn judge_measurement_list(&mut self) -> Option<ImaState> {
        let quoted = self.pcrs.get(IMA_PCR)?;
        self.judged = self.judged.with(IMA_PCR);
        let Some(list) = self.context.ima_list else {
            self.fail(PcrFailure::Unused(IMA_PCR));
            return None;
        };
        let terms = &self.context.ima;
        let context = ImaContext {
            policy: terms.policy,
            tenant_keyring: terms.keyring,
            bank: self.pcrs.algorithm(),
            quoted_pcr10: Some(quoted.as_bytes()),
            boot_aggregates: self.context.boot.map_or(&[], |boot| boot.boot_aggregates()),
            options: terms.options,
        };
        let appraisal = appraise_with(list, self.context.ima_state, &context, terms.keyring_use);
        self.failures.extend(appraisal.failures.into_iter().map(Failure::Ima));
        Some(appraisal.state)
    }

    /// Compares with the replayed log; returns the mismatches, which are reported after those of the operator's values.
    fn compare_with_boot_log(&mut self, boot: &dyn BootStage) -> Vec<Failure> {
        let mut mismatches = Vec::new();
        for pcr in boot.compared_pcrs().intersection(self.pcrs.mask()).iter() {
            let Some(quoted) = self.pcrs.get(pcr) else { continue };
            match boot.log() {
                BootLog::Absent => self.fail(PcrFailure::Unused(pcr)),
                BootLog::Sent => {
                    mismatches.extend(boot.compare(self.pcrs.algorithm(), pcr, quoted).map(Failure::MeasuredBoot));
                    self.judge_policy_value(pcr);
                    self.judged = self.judged.with(pcr);
                }
            }
        }
        mismatches
    }

    fn judge_policy_values(&mut self) {
        for pcr in self.pcrs.mask().difference(self.judged).iter() {
            self.judge_policy_value(pcr);
        }
    }

    fn judge_policy_value(&mut self, pcr: u8) {
        let (Some(rule), Some(quoted)) = (self.context.tpm_policy.rule(pcr), self.pcrs.get(pcr)) else { return };
        if !rule.allows(quoted) {
            self.fail(PcrFailure::Invalid { pcr, got: quoted.to_hex(), expected: rule.values() });
        }
        self.judged = self.judged.with(pcr);
    }

    fn judge_absent_pcrs(&mut self) {
        let quoted = self.pcrs.mask();
        let mut absent: Vec<u8> = self.context.tpm_policy.pcrs().filter(|pcr| !quoted.contains(*pcr)).collect();
        for pcr in self.context.requested.difference(quoted).iter() {
            if !absent.contains(&pcr) {
                absent.push(pcr);
            }
        }
        if !absent.is_empty() {
            absent.sort_unstable();
            self.fail(PcrFailure::Missing(absent));
        }
    }

    fn fail(&mut self, failure: PcrFailure) {
        self.failures.push(Failure::Pcr(failure));
    }
}

#[cfg(test)]
mod tests;
