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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::pcr_blob;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::sync::LazyLock;

    /// Identity quotes of real agents.
    fn vectors() -> Vec<Value> {
        let all: Value = serde_json::from_str(include_str!("../../tests/data/quotes.json")).unwrap();
        let quotes = all["quotes"].as_array().unwrap().iter();
        quotes.filter(|quote| quote["name"].as_str().unwrap().ends_with("identity")).cloned().collect()
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    static HASH: LazyLock<Vec<String>> = LazyLock::new(|| names(&["sha1", "sha256", "sha384", "sha512"]));
    static ENCRYPTION: LazyLock<Vec<String>> = LazyLock::new(|| names(&["rsa", "rsa3072", "ecc", "ecc384", "ecc521"]));
    static SIGNING: LazyLock<Vec<String>> = LazyLock::new(|| names(&["rsassa", "rsapss", "ecdsa", "ecschnorr"]));

    fn check_with<'v>(
        vector: &'v Value,
        change: impl FnOnce(&mut IdentityEvidence<'v>, &mut IdentityExpectation<'v>),
    ) -> Result<(), IdentityRefusal> {
        let text = |name: &str| vector["response"][name].as_str().unwrap();
        let mut evidence = IdentityEvidence {
            quote: text("quote"),
            pubkey: text("pubkey"),
            hash_alg: text("hash_alg"),
            enc_alg: text("enc_alg"),
            sign_alg: text("sign_alg"),
        };
        let mut expected = IdentityExpectation {
            attestation_key: vector["aik_tpm"].as_str().unwrap(),
            nonce: vector["nonce"].as_str().unwrap(),
            encoding: QuoteEncoding::Plain,
            accepted_hash: &HASH,
            accepted_encryption: &ENCRYPTION,
            accepted_signing: &SIGNING,
        };
        change(&mut evidence, &mut expected);
        check(&evidence, &expected)
    }

    #[test]
    fn real_quotes_get_the_verdict_of_the_reference() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 8);
        for vector in &vectors {
            let verdict = check_with(vector, |_, _| {});
            assert_eq!(verdict.is_ok(), vector["expect"]["valid"].as_bool().unwrap(), "{} {verdict:?}", vector["name"]);
        }
    }

    #[test]
    fn another_nonce_key_or_payload_key_is_refused() {
        let vectors = vectors();
        let [first, second] = [&vectors[0], &vectors[1]];
        let nonce = check_with(first, |_, expected| expected.nonce = "AbCdEfGhIjKlMnOp0124");
        assert_eq!(nonce, Err(IdentityRefusal::Quote(QuoteError::Nonce)));
        let key = check_with(first, |_, expected| expected.attestation_key = second["aik_tpm"].as_str().unwrap());
        assert!(matches!(key, Err(IdentityRefusal::Quote(_))));
        let no_key = check_with(first, |_, expected| expected.attestation_key = "");
        assert!(matches!(no_key, Err(IdentityRefusal::Key(_))));
        let payload_key = second["response"]["pubkey"].as_str().unwrap();
        assert_eq!(check_with(first, |evidence, _| evidence.pubkey = payload_key), Err(IdentityRefusal::DataPcr));
    }

    #[test]
    fn algorithms_must_be_known_and_accepted() {
        let vectors = vectors();
        let refused = |change: fn(&mut IdentityEvidence<'_>, &mut IdentityExpectation<'_>)| {
            check_with(&vectors[0], change).unwrap_err().to_string()
        };
        assert_eq!(
            refused(|_, expected| expected.accepted_hash = &[]),
            "is using an unaccepted hash algorithm: sha256"
        );
        assert_eq!(refused(|evidence, _| evidence.hash_alg = "md5"), "is using an unaccepted hash algorithm: md5");
        assert_eq!(
            refused(|_, expected| expected.accepted_encryption = &[]),
            "is using an unaccepted encryption algorithm: rsa2048"
        );
        assert_eq!(
            refused(|_, expected| expected.accepted_signing = &[]),
            "is using an unaccepted signing algorithm: rsassa"
        );
    }

    proptest! {
        #[test]
        fn a_changed_quote_is_never_accepted(at in 1_usize..1000, character in "[A-Za-z0-9+/:]") {
            let vectors = vectors();
            let quote = vectors[0]["response"]["quote"].as_str().unwrap();
            let at = at % quote.len();
            let mut changed = quote.to_owned();
            changed.replace_range(at..=at, &character);
            prop_assume!(changed != quote && at > 0);
            let verdict = check_with(&vectors[0], |evidence, _| evidence.quote = &changed);
            // Unused slots of the PCR blob and the last bits before a padding mean nothing.
            let meaning = |text: &str| {
                let parts = QuoteParts::decode(text, QuoteEncoding::Plain).ok()?;
                Some((parts.attest, pcr_blob::read_bank(&parts.pcr_blob, HashAlgorithm::Sha256).ok()?))
            };
            prop_assert!(verdict.is_err() || meaning(&changed) == meaning(quote));
        }
    }
}
