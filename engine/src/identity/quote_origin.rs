//! Whether a quote was made by the TPM of an enrolled agent (`evidence-and-tee.md` §2): the key's signature, the nonce and the
//! PCR digest hold. Clock, PCR values and the payload key are not looked at.

use super::attestation_key::AttestationKey;
use crate::algorithm::HashAlgorithm;
use crate::tpm::failure::QuoteFailure;
use crate::tpm::quote::{self, ExpectedNonce, QuoteEncoding, QuoteExpectation, QuoteParts};
use serde_json::{Value, json};

/// Most characters of a client's text that are repeated in a failure.
const MAX_ECHO: usize = 64;

/// Why a quote does not identify the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum IdentityFailure {
    /// There is no hash algorithm of this name.
    UnknownHash(String),
    /// The quote does not hold.
    Quote(QuoteFailure),
}

impl IdentityFailure {
    /// The context object, as it is shown to the client.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::UnknownHash(name) => json!({
                "message": format!("TPM Quote is using an unrecognized hash algorithm: {name}"),
                "data": name,
            }),
            Self::Quote(failure) => failure.context(),
        }
    }
}

/// Checks a quote string against the stored attestation key of an agent (base64 of a TPM2B_PUBLIC).
///
/// # Errors
/// See [`IdentityFailure`]; everything that is not a valid quote is a failure.
pub fn check(ak_tpm: &str, quote_text: &str, nonce: &str, hash_alg: &str) -> Result<(), IdentityFailure> {
    if HashAlgorithm::from_name(hash_alg).is_none() {
        return Err(IdentityFailure::UnknownHash(hash_alg.chars().take(MAX_ECHO).collect()));
    }
    let invalid = |text: String| IdentityFailure::Quote(QuoteFailure::InvalidQuote(text));
    let key = AttestationKey::from_base64(ak_tpm).map_err(|error| invalid(error.to_string()))?;
    let parts = QuoteParts::decode(quote_text, QuoteEncoding::Plain).map_err(|error| invalid(error.to_string()))?;
    let expected = QuoteExpectation { nonce: ExpectedNonce::Text(nonce), hash_alg };
    quote::verify(&parts, &key, &expected)
        .map(drop)
        .map_err(|error| IdentityFailure::Quote(QuoteFailure::Invalid(error.to_string())))
}
