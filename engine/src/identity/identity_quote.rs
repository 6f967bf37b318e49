//! The check of a pull agent's identity quote before it gets a key share (`tenant-cli.md` §5.4).
//!
//! The quote must come from the registered attestation key, answer this challenge, and hold, in PCR 16, the payload key
//! to which the share is going to be encrypted.

use super::attestation_key::{AttestationKey, InvalidAttestationKey};
use crate::algorithm::{HashAlgorithm, is_accepted};
use crate::tpm::clock_info::{ClockInfo, ClockViolation};
use crate::tpm::data_pcr::{self, DATA_PCR};
use crate::tpm::quote::{
    self, ExpectedNonce, InvalidQuoteText, QuoteEncoding, QuoteError, QuoteExpectation, QuoteParts,
};

/// What an agent answers.
#[derive(Debug, Clone, Copy)]
pub struct IdentityEvidence<'a> {
    /// The quote string.
    pub quote: &'a str,
    /// The payload public key, PEM.
    pub pubkey: &'a str,
    /// Hash algorithm the agent says it uses.
    pub hash_alg: &'a str,
    /// Encryption algorithm the agent says it uses.
    pub enc_alg: &'a str,
    /// Signing algorithm the agent says it uses.
    pub sign_alg: &'a str,
}

/// What the answer is measured by.
#[derive(Debug, Clone, Copy)]
pub struct IdentityExpectation<'a> {
    /// The registered attestation key, base64 of a TPM2B_PUBLIC.
    pub attestation_key: &'a str,
    /// The challenge.
    pub nonce: &'a str,
    /// How the quote string is coded.
    pub encoding: QuoteEncoding,
    /// Hash algorithms the operator accepts.
    pub accepted_hash: &'a [String],
    /// Encryption algorithms the operator accepts.
    pub accepted_encryption: &'a [String],
    /// Signing algorithms the operator accepts.
    pub accepted_signing: &'a [String],
}

/// Why an identity quote is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefusal {
    /// The hash algorithm is unknown or not accepted.
    #[error("is using an unaccepted hash algorithm: {0}")]
    Hash(String),
    /// The encryption algorithm is not accepted.
    #[error("is using an unaccepted encryption algorithm: {0}")]
    Encryption(String),
    /// The signing algorithm is not accepted.
    #[error("is using an unaccepted signing algorithm: {0}")]
    Signing(String),
    /// The registered key is no attestation key.
    #[error(transparent)]
    Key(#[from] InvalidAttestationKey),
    /// The quote string cannot be read.
    #[error(transparent)]
    Text(#[from] InvalidQuoteText),
    /// The quote is not authentic or not fresh.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The quote does not hold the payload key.
    #[error("PCR 16 of the quote does not hold the payload key")]
    DataPcr,
    /// The TPM's clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] ClockViolation),
}

/// Checks an identity quote; the clock is judged as that of a machine never seen before.
///
/// # Errors
/// See [`IdentityRefusal`].
pub fn check(evidence: &IdentityEvidence<'_>, expected: &IdentityExpectation<'_>) -> Result<(), IdentityRefusal> {
    let named = |text: &str| text.chars().take(64).collect::<String>();
    let is_known_hash = HashAlgorithm::from_name(evidence.hash_alg).is_some();
    if !is_known_hash || !is_accepted(evidence.hash_alg, expected.accepted_hash) {
        return Err(IdentityRefusal::Hash(named(evidence.hash_alg)));
    }
    if !is_accepted(evidence.enc_alg, expected.accepted_encryption) {
        return Err(IdentityRefusal::Encryption(named(evidence.enc_alg)));
    }
    if !is_accepted(evidence.sign_alg, expected.accepted_signing) {
        return Err(IdentityRefusal::Signing(named(evidence.sign_alg)));
    }
    let key = AttestationKey::from_base64(expected.attestation_key)?;
    let parts = QuoteParts::decode(evidence.quote, expected.encoding)?;
    let nonce = ExpectedNonce::Text(expected.nonce);
    let quote = quote::verify(&parts, &key, &QuoteExpectation { nonce, hash_alg: evidence.hash_alg })?;
    let bound = data_pcr::extended_once(quote.pcrs.algorithm(), evidence.pubkey.as_bytes());
    if quote.pcrs.get(DATA_PCR) != Some(&bound) {
        return Err(IdentityRefusal::DataPcr);
    }
    Ok(quote.clock.may_follow(&ClockInfo::default())?)
}
