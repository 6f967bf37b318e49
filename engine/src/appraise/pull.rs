//! The answer of an agent to a quote request (`verifier-state-machine.md` §4, steps (a) to (j)).

use super::boot_stage::BootAppraiser;
use super::pcr_stage::{ImaTerms, PcrContext, appraise_pcrs};
use crate::algorithm::{HashAlgorithm, is_accepted};
use crate::evidence::loose_json::LooseText;
use crate::evidence::{QuoteReplyError, QuoteResults};
use crate::identity::attestation_key::AttestationKey;
use crate::ima::{ImaOptions, ImaState, Keyring, KeyringUse};
use crate::lifecycle::state::QuoteAlgorithms;
use crate::lifecycle::{Extent, Verdict};
use crate::policy::CompiledRuntimePolicy;
use crate::policy::tpm_policy::TpmPolicy;
use crate::tpm::clock_info::ClockInfo;
use crate::tpm::failure::QuoteFailure;
use crate::tpm::pcr_mask::PcrMask;
use crate::tpm::quote::{self, ExpectedNonce, Quote, QuoteEncoding, QuoteExpectation, QuoteParts};
use crate::tpm::verified::Verified;
use crate::verdict::{Failure, Failures};
use std::sync::Arc;

/// The algorithm names the operator accepts.
#[derive(Debug, Clone, Copy)]
pub struct AcceptedAlgorithms<'a> {
    /// `accept_tpm_hash_algs`.
    pub hash: &'a [String],
    /// `accept_tpm_encryption_algs`.
    pub enc: &'a [String],
    /// `accept_tpm_signing_algs`.
    pub sign: &'a [String],
}

/// What the answer of an agent is judged by.
#[derive(Clone, Copy)]
pub struct PullContext<'a> {
    /// The agent's attestation key, parsed once.
    pub attestation_key: &'a AttestationKey,
    /// The nonce of the request.
    pub nonce: &'a str,
    /// How the agent's API version packs quotes.
    pub encoding: QuoteEncoding,
    /// The payload key of an earlier answer.
    pub known_payload_key: Option<&'a str>,
    /// The accepted algorithms.
    pub accepted: AcceptedAlgorithms<'a>,
    /// The PCR policy, compiled once; its mask is what the agent was asked for.
    pub tpm_policy: &'a TpmPolicy,
    /// The runtime policy, compiled once.
    pub runtime_policy: &'a CompiledRuntimePolicy,
    /// The agent's own keys for file signatures (`ima_sign_verification_keys`); `None` means those of the policy.
    pub agent_keyring: Option<&'a Keyring>,
    /// The operator's choices about measurement lists.
    pub ima_options: ImaOptions,
    /// The state of the measurement list before this answer; names the entry that was asked for.
    pub ima: &'a ImaState,
    /// The clock of the last accepted quote.
    pub clock: ClockInfo,
    /// The boot policy and its settings.
    pub boot: Option<&'a dyn BootAppraiser>,
}

/// Judges the body of an agent's answer with status 200.
#[must_use]
pub fn appraise_pull_reply(body: &[u8], context: &PullContext<'_>) -> Verdict {
    match QuoteResults::parse(body) {
        Ok(results) => appraise_pull(&results, context),
        Err(QuoteReplyError::NotJson(text)) => rejected(QuoteFailure::InvalidData(text), context.ima),
        Err(error @ QuoteReplyError::NotInteger(_)) => Verdict::Unreadable(error.to_string()),
    }
}

/// Judges the results of a quote request.
#[must_use]
pub fn appraise_pull(results: &QuoteResults<'_>, context: &PullContext<'_>) -> Verdict {
    let evidence = match Evidence::admit(results, context) {
        Ok(evidence) => evidence,
        Err(failure) => return rejected(failure, context.ima),
    };
    let mut failures = Vec::new();
    let ima = match continue_list(results, context.ima) {
        Continuation::From(ima) => ima,
        Continuation::WrongEntry(ima, failure) => {
            failures.push(Failure::Quote(failure));
            ima
        }
        Continuation::Rebooted(ima) => return Verdict::BoottimeChanged { ima },
    };
    let algorithms = evidence.algorithms();
    let verified = match check_quote(&evidence, context) {
        Ok(verified) => verified,
        Err(Objection::Uninterpretable(text)) => return Verdict::Unreadable(text),
        Err(Objection::Failed(failure)) => {
            failures.push(Failure::Quote(failure));
            return verdict(failures, ima, algorithms);
        }
    };
    let boot = context.boot.map(|boot| boot.read(results.mb_measurement_list.as_str(), verified.pcrs.algorithm()));
    let appraisal = appraise_pcrs(
        &verified,
        &PcrContext {
            tpm_policy: context.tpm_policy,
            requested: context.tpm_policy.mask().unwrap_or(PcrMask::EMPTY),
            payload_key: Some(evidence.payload_key),
            ima_list: results.ima_measurement_list.as_str(),
            ima_state: &ima,
            ima: ImaTerms {
                policy: context.runtime_policy,
                keyring: context.agent_keyring.or_else(|| context.runtime_policy.verification_keyring()),
                keyring_use: KeyringUse::Considered,
                options: context.ima_options,
            },
            boot: boot.as_deref(),
        },
    );
    failures.extend(appraisal.failures);
    if !failures.is_empty() {
        return verdict(failures, ima, algorithms);
    }
    Verdict::Passed {
        clock: verified.clock,
        ima: appraisal.ima.unwrap_or(ima),
        payload_key: results.pubkey.as_str().map(Arc::from),
        algorithms,
    }
}

/// The parts of an answer that every appraisal needs, present and of accepted algorithms (steps (a) to (c)).
struct Evidence<'e> {
    quote: &'e str,
    payload_key: &'e str,
    hash: &'e str,
    enc: &'e str,
    sign: &'e str,
}

impl<'e> Evidence<'e> {
    fn admit(results: &'e QuoteResults<'_>, context: &PullContext<'e>) -> Result<Self, QuoteFailure> {
        for (name, value) in [
            ("quote", &results.quote),
            ("pubkey", &results.pubkey),
            ("ima_measurement_list", &results.ima_measurement_list),
            ("mb_measurement_list", &results.mb_measurement_list),
        ] {
            if *value == LooseText::Other {
                return Err(QuoteFailure::InvalidData(format!("{name} in the quote reply is not a text")));
            }
        }
        let quote = results
            .quote
            .as_str()
            .ok_or_else(|| QuoteFailure::InvalidData("the quote reply holds no quote".to_owned()))?;
        let payload_key = results.pubkey.as_str().or(context.known_payload_key).ok_or(QuoteFailure::NoPubkey)?;
        let accepted = &context.accepted;
        let hash = admit_algorithm(&results.hash_alg, accepted.hash).map_err(QuoteFailure::InvalidHashAlg)?;
        if HashAlgorithm::from_name(hash).is_none() {
            return Err(QuoteFailure::InvalidHashAlg(hash.to_owned()));
        }
        let enc = admit_algorithm(&results.enc_alg, accepted.enc).map_err(QuoteFailure::InvalidEncAlg)?;
        let sign = admit_algorithm(&results.sign_alg, accepted.sign).map_err(QuoteFailure::InvalidSignAlg)?;
        Ok(Self { quote, payload_key, hash, enc, sign })
    }

    fn algorithms(&self) -> QuoteAlgorithms {
        QuoteAlgorithms { hash: self.hash.into(), enc: self.enc.into(), sign: self.sign.into() }
    }
}

/// Longest algorithm name that is repeated in a report.
const MAX_NAME_CHARACTERS: usize = 64;

fn admit_algorithm<'t>(name: &'t LooseText<'_>, accepted: &[String]) -> Result<&'t str, String> {
    match name.as_str() {
        Some(name) if is_accepted(name, accepted) => Ok(name),
        Some(name) => Err(name.chars().take(MAX_NAME_CHARACTERS).collect()),
        None => Err(String::new()),
    }
}

enum Continuation {
    From(ImaState),
    WrongEntry(ImaState, QuoteFailure),
    Rebooted(ImaState),
}

/// Where the list starts (steps (d) and (e)): at its beginning, where it was asked for, or somewhere else.
fn continue_list(results: &QuoteResults<'_>, before: &ImaState) -> Continuation {
    let (entry, boottime) = (results.ima_entry(), results.boot_seconds());
    let fresh = ImaState { boottime, ..ImaState::default() };
    if entry == 0 {
        return Continuation::From(fresh);
    }
    if u64::try_from(entry) != Ok(before.next_entry) {
        let failure = QuoteFailure::InvalidImaEntry { got: entry, expected: before.next_entry };
        return Continuation::WrongEntry(ImaState { boottime, ..before.clone() }, failure);
    }
    if boottime != before.boottime {
        return Continuation::Rebooted(fresh);
    }
    Continuation::From(before.clone())
}

enum Objection {
    /// The reference raises an exception here instead of failing the quote.
    Uninterpretable(String),
    Failed(QuoteFailure),
}

/// Authenticates the quote and checks the TPM's clock (steps (g) and (h)).
fn check_quote(evidence: &Evidence<'_>, context: &PullContext<'_>) -> Result<Verified<Quote>, Objection> {
    let parts = QuoteParts::decode(evidence.quote, context.encoding)
        .map_err(|error| Objection::Uninterpretable(error.to_string()))?;
    let expected = QuoteExpectation { nonce: ExpectedNonce::Text(context.nonce), hash_alg: evidence.hash };
    let verified = quote::verify(&parts, context.attestation_key, &expected)
        .map_err(|error| Objection::Failed(QuoteFailure::Invalid(error.to_string())))?;
    verified
        .clock
        .may_follow(&context.clock)
        .map_err(|violation| Objection::Failed(QuoteFailure::Clock(violation.to_string())))?;
    Ok(verified)
}

fn rejected(failure: QuoteFailure, ima: &ImaState) -> Verdict {
    Verdict::Failed { failures: Failures::one(Failure::Quote(failure)), ima: ima.clone(), extent: Extent::Rejected }
}

/// The verdict on evidence with failures. What was learned from its list is dropped; after a failure of the list itself the
/// whole list is asked for again.
///
/// Never passes: without a failure there is nothing to build [`Failures`] from, and the evidence counts as uninterpretable.
fn verdict(failures: Vec<Failure>, before: ImaState, algorithms: QuoteAlgorithms) -> Verdict {
    let list_failed = failures.iter().any(|failure| matches!(failure, Failure::Ima(_)));
    let ima = if list_failed { ImaState::default() } else { before };
    match Failures::from_vec(failures) {
        Some(failures) => Verdict::Failed { failures, ima, extent: Extent::Judged(algorithms) },
        None => Verdict::Unreadable("appraisal ended without a verdict".to_owned()),
    }
}
