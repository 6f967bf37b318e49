//! Evidence that anybody presents once, without an enrolled agent (`evidence-and-tee.md` §1.1 and §2).

use super::boot_stage::BootAppraiser;
use super::pcr_stage::{ImaTerms, PcrContext, appraise_pcrs};
use crate::algorithm::HashAlgorithm;
use crate::identity::attestation_key::AttestationKey;
use crate::ima::{ImaOptions, ImaState, KeyringUse};
use crate::policy::CompiledRuntimePolicy;
use crate::policy::tpm_policy::TpmPolicy;
use crate::tpm::failure::QuoteFailure;
use crate::tpm::pcr_mask::PcrMask;
use crate::tpm::quote::{self, ExpectedNonce, Quote, QuoteEncoding, QuoteExpectation, QuoteParts};
use crate::tpm::verified::Verified;
use crate::verdict::{Failure, Failures};

/// A quote and what it must agree with.
#[derive(Debug, Clone, Copy)]
pub struct OneShotQuote<'a> {
    /// The quote string.
    pub quote: &'a str,
    /// The nonce, text or base64.
    pub nonce: &'a str,
    /// Name of the hash algorithm.
    pub hash_alg: &'a str,
    /// The attestation key.
    pub attestation_key: &'a AttestationKey,
}

/// What one-shot evidence is judged by.
#[derive(Clone, Copy)]
pub struct EvidenceContext<'a> {
    /// The PCR policy; its mask says nothing here, since nobody was asked.
    pub tpm_policy: &'a TpmPolicy,
    /// The runtime policy; its verification keys are not used here.
    pub runtime_policy: &'a CompiledRuntimePolicy,
    /// The operator's choices about measurement lists.
    pub ima_options: ImaOptions,
    /// The measurement list, from its start; empty when none was presented.
    pub ima_list: &'a str,
    /// The boot log, base64; `None` when none was presented.
    pub boot_log: Option<&'a str>,
    /// The boot policy and its settings.
    pub boot: Option<&'a dyn BootAppraiser>,
}

/// Judges evidence of `verify/evidence`; `None` means that it is valid.
#[must_use]
pub fn appraise_evidence(quote: &OneShotQuote<'_>, context: &EvidenceContext<'_>) -> Option<Failures> {
    match check(quote) {
        Ok(verified) => appraise_verified(&verified, context),
        Err(failure) => Some(Failures::one(Failure::Quote(failure))),
    }
}

/// Judges the values of an authenticated quote.
pub(super) fn appraise_verified(verified: &Verified<Quote>, context: &EvidenceContext<'_>) -> Option<Failures> {
    let boot = context.boot.map(|boot| boot.read(context.boot_log, verified.pcrs.algorithm()));
    let appraisal = appraise_pcrs(
        verified,
        &PcrContext {
            tpm_policy: context.tpm_policy,
            requested: PcrMask::EMPTY,
            payload_key: None,
            ima_list: Some(context.ima_list),
            ima_state: &ImaState::default(),
            ima: ImaTerms {
                policy: context.runtime_policy,
                keyring: None,
                keyring_use: KeyringUse::Ignored,
                options: context.ima_options,
            },
            boot: boot.as_deref(),
        },
    );
    Failures::from_vec(appraisal.failures)
}

/// Judges a quote of `verify/identity`: only that it was made by this key, for this nonce.
///
/// # Errors
/// [`QuoteFailure`] when it was not.
pub fn appraise_identity(quote: &OneShotQuote<'_>) -> Result<Verified<Quote>, QuoteFailure> {
    check(quote)
}

impl OneShotQuote<'_> {
    /// Whether there is a hash algorithm of this name.
    ///
    /// # Errors
    /// [`QuoteFailure::UnknownHashAlg`].
    pub(super) fn known_hash(name: &str) -> Result<HashAlgorithm, QuoteFailure> {
        HashAlgorithm::from_name(name)
            .ok_or_else(|| QuoteFailure::UnknownHashAlg(name.chars().take(MAX_NAME_CHARACTERS).collect()))
    }
}

/// Longest algorithm name that is repeated in a report.
const MAX_NAME_CHARACTERS: usize = 64;

pub(super) fn check(presented: &OneShotQuote<'_>) -> Result<Verified<Quote>, QuoteFailure> {
    OneShotQuote::known_hash(presented.hash_alg)?;
    let parts = QuoteParts::decode(presented.quote, QuoteEncoding::Plain)
        .map_err(|error| QuoteFailure::InvalidQuote(error.to_string()))?;
    let expected = QuoteExpectation { nonce: ExpectedNonce::Text(presented.nonce), hash_alg: presented.hash_alg };
    quote::verify(&parts, presented.attestation_key, &expected)
        .map_err(|error| QuoteFailure::Invalid(error.to_string()))
}
