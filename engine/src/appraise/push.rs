//! The evidence of a push agent (`verifier-v3-push.md` §5, `evidence-and-tee.md` §5).
//!
//! The stages are those of pull attestation. What differs: no payload key is bound to PCR 16; the nonce is the challenge's
//! bytes; hash and scheme are the chosen ones; and the measurement list continues the state of the last attestation that
//! passed only when it was asked for from there, so that the first list after a reboot is replayed from zeros.

use super::boot_stage::BootAppraiser;
use super::pcr_stage::{ImaTerms, PcrContext, appraise_pcrs};
use crate::evidence::attestation::{Attestation, FailureReason};
use crate::evidence::capabilities::EvidenceType;
use crate::evidence::requirements::Requirements;
use crate::identity::attestation_key::AttestationKey;
use crate::ima::{ImaFailure, ImaOptions, ImaState, Keyring, KeyringUse};
use crate::policy::CompiledRuntimePolicy;
use crate::policy::tpm_policy::TpmPolicy;
use crate::tpm::clock_info::ClockInfo;
use crate::tpm::failure::QuoteFailure;
use crate::tpm::quote::{self, ExpectedNonce, Quote, QuoteExpectation, QuoteParts};
use crate::tpm::signature::{SignatureHeader, SignatureScheme};
use crate::tpm::verified::Verified;
use crate::verdict::{Failure, Failures, InternalFault};

/// What the evidence of a push agent is judged by.
#[derive(Clone, Copy)]
pub struct PushContext<'a> {
    /// The agent's attestation key, parsed once.
    pub attestation_key: &'a AttestationKey,
    /// What the policies call for at this moment.
    pub requirements: Requirements,
    /// The PCR policy, compiled once.
    pub tpm_policy: &'a TpmPolicy,
    /// The runtime policy, compiled once.
    pub runtime_policy: &'a CompiledRuntimePolicy,
    /// The agent's own keys for file signatures; `None` means those of the policy.
    pub agent_keyring: Option<&'a Keyring>,
    /// The operator's choices about measurement lists.
    pub ima_options: ImaOptions,
    /// State of the measurement list after the last attestation that passed.
    pub ima: &'a ImaState,
    /// The TPM's clock in the last authentic quote.
    pub clock: ClockInfo,
    /// The boot policy and its settings.
    pub boot: Option<&'a dyn BootAppraiser>,
}

/// The outcome of one appraisal of a push agent's evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum PushVerdict {
    /// It satisfies all policies.
    Passed {
        /// The TPM's clock in the quote.
        clock: ClockInfo,
        /// State of the measurement list after it.
        ima: ImaState,
        /// Entries that led to the quoted value.
        certified_entries: u64,
    },
    /// It does not.
    Failed {
        /// Why.
        failures: Failures,
        /// What the API tells of it.
        reason: FailureReason,
        /// The TPM's clock, when the quote is authentic.
        clock: Option<ClockInfo>,
    },
    /// The policies have changed since the evidence was asked for, and call for other evidence: nothing was judged.
    Outdated,
}

/// Judges evidence.
#[must_use]
pub fn appraise_push(attestation: &Attestation, context: &PushContext<'_>) -> PushVerdict {
    if !covers(attestation, &context.requirements) {
        return PushVerdict::Outdated;
    }
    let verified = match authenticate(attestation, context) {
        Ok(verified) => verified,
        Err(failure) => return failed(vec![Failure::Quote(failure)], None),
    };
    let fresh;
    let ima = if attestation.ima_offset() == 0 {
        fresh = ImaState::default();
        &fresh
    } else {
        context.ima
    };
    let boot_log = attestation.log(EvidenceType::UefiLog).map(|log| &**log);
    let boot = context.boot.map(|boot| boot.read(boot_log, verified.pcrs.algorithm()));
    let appraisal = appraise_pcrs(
        &verified,
        &PcrContext {
            tpm_policy: context.tpm_policy,
            requested: context.requirements.pcrs,
            payload_key: None,
            ima_list: attestation.log(EvidenceType::ImaLog).map(|list| &**list),
            ima_state: ima,
            ima: ImaTerms {
                policy: context.runtime_policy,
                keyring: context.agent_keyring.or_else(|| context.runtime_policy.verification_keyring()),
                keyring_use: KeyringUse::Considered,
                options: context.ima_options,
            },
            boot: boot.as_deref(),
        },
    );
    let boottime = attestation.boot_time.map_or(0, |micros| micros.div_euclid(1_000_000));
    let clock = verified.clock;
    if !appraisal.failures.is_empty() {
        return failed(appraisal.failures, Some(clock));
    }
    let ima = appraisal.ima.map_or_else(ImaState::default, |state| ImaState { boottime, ..state });
    let certified_entries = ima.next_entry.saturating_sub(attestation.ima_offset());
    PushVerdict::Passed { clock, ima, certified_entries }
}

/// Evidence that could not be judged at all, such as by a policy that cannot be used: a failed attestation, never a pass.
#[must_use]
pub fn unjudgeable(reason: String) -> PushVerdict {
    failed(vec![Failure::Internal(InternalFault::Exception(reason))], None)
}

/// Whether everything the policies call for was asked for.
fn covers(attestation: &Attestation, requirements: &Requirements) -> bool {
    let has = |kind| attestation.item(kind).is_some();
    let quoted = attestation.quote_parameters().is_some_and(|parameters| {
        let bank = parameters.hash_algorithm.name();
        let selected = parameters.selected_subjects.iter().find(|(name, _)| **name == *bank);
        selected
            .and_then(|(_, pcrs)| pcrs.as_ref())
            .is_some_and(|pcrs| requirements.pcrs.iter().all(|pcr| pcrs.contains(&u32::from(pcr))))
    });
    quoted
        && requirements.uefi.is_wanted() == has(EvidenceType::UefiLog)
        && requirements.ima.is_wanted() == has(EvidenceType::ImaLog)
}

fn authenticate(attestation: &Attestation, context: &PushContext<'_>) -> Result<Verified<Quote>, QuoteFailure> {
    let (Some(parameters), Some(data)) = (attestation.quote_parameters(), attestation.quote()) else {
        return Err(QuoteFailure::InvalidData("there is no quote".to_owned()));
    };
    let signature =
        SignatureHeader::parse(&data.signature).map_err(|error| QuoteFailure::Invalid(error.to_string()))?;
    if SignatureScheme::from_tpm_id(signature.scheme_id) != Some(parameters.signature_scheme) {
        let wanted = parameters.signature_scheme;
        return Err(QuoteFailure::Invalid(format!("the quote is not signed with the chosen scheme {wanted}")));
    }
    let parts = QuoteParts {
        attest: data.message.clone(),
        signature: data.signature.clone(),
        pcr_blob: data.subject_data.clone(),
    };
    let expected = QuoteExpectation {
        nonce: ExpectedNonce::Bytes(parameters.challenge.as_bytes()),
        hash_alg: parameters.hash_algorithm.name(),
    };
    let verified = quote::verify(&parts, context.attestation_key, &expected)
        .map_err(|error| QuoteFailure::Invalid(error.to_string()))?;
    verified.clock.may_follow(&context.clock).map_err(|violation| QuoteFailure::Clock(violation.to_string()))?;
    Ok(verified)
}

fn failed(failures: Vec<Failure>, clock: Option<ClockInfo>) -> PushVerdict {
    let reason = reason_of(&failures);
    // A broken chain says nothing about the machine, not even when it quoted.
    let clock = clock.filter(|_| reason != FailureReason::BrokenEvidenceChain);
    let failures = Failures::from_vec(failures).unwrap_or_else(|| {
        Failures::one(Failure::Internal(InternalFault::Exception("appraisal ended without a verdict".to_owned())))
    });
    PushVerdict::Failed { failures, reason, clock }
}

/// The first failure of these kinds breaks the chain; everything else violates a policy (`verifier-v3-push.md` §5).
fn reason_of(failures: &[Failure]) -> FailureReason {
    let breaks = |failure: &Failure| match failure {
        Failure::Quote(_) | Failure::Ima(ImaFailure::PcrMismatch { .. }) => true,
        Failure::MeasuredBoot(failure) => failure.id().starts_with("invalid_pcr_"),
        Failure::Pcr(_) | Failure::Ima(_) | Failure::Internal(_) => false,
    };
    if failures.iter().any(breaks) { FailureReason::BrokenEvidenceChain } else { FailureReason::PolicyViolation }
}
