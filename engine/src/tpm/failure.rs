//! Failures of a quote and of its PCR values.

use serde_json::{Value, json};
use std::borrow::Cow;

/// A quote that is missing, malformed, not authentic or not fresh. Never recoverable.
#[derive(Debug, Clone, PartialEq)]
pub enum QuoteFailure {
    /// The reply holds no quote, or is unparsable.
    InvalidData(String),
    /// No payload key in the reply and none known from before.
    NoPubkey,
    /// The hash algorithm is absent, unknown or not accepted.
    InvalidHashAlg(String),
    /// There is no hash algorithm of this name; only of one-shot evidence.
    UnknownHashAlg(String),
    /// The encryption algorithm is absent or not accepted.
    InvalidEncAlg(String),
    /// The signing algorithm is absent or not accepted.
    InvalidSignAlg(String),
    /// The IMA list starts neither at 0 nor at the requested entry.
    InvalidImaEntry {
        /// First entry of the list received.
        got: i64,
        /// Entry that was asked for.
        expected: u64,
    },
    /// Signature, nonce, PCR digest or algorithm do not hold.
    Invalid(String),
    /// The TPM's clock went backwards or is not safe.
    Clock(String),
    /// Evidence of a one-shot verification that could not be interpreted.
    InvalidQuote(String),
}

impl QuoteFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::InvalidData(_) => "invalid_data",
            Self::NoPubkey => "no_pubkey",
            Self::InvalidHashAlg(_) | Self::UnknownHashAlg(_) => "invalid_hash_alg",
            Self::InvalidEncAlg(_) => "invalid_enc_alg",
            Self::InvalidSignAlg(_) => "invalid_sign_alg",
            Self::InvalidImaEntry { .. } => "invalid_ima_entry_nb",
            Self::Invalid(_) | Self::Clock(_) => "quote_validation",
            Self::InvalidQuote(_) => "invalid_quote",
        })
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::InvalidData(text) => json!({ "message": text }),
            Self::NoPubkey => json!({ "message": "no public key in the reply and none known" }),
            Self::InvalidHashAlg(name) => {
                json!({ "message": format!("TPM Quote is using an unaccepted hash algorithm: {name}"), "data": name })
            }
            Self::UnknownHashAlg(name) => {
                json!({ "message": format!("TPM Quote is using an unrecognized hash algorithm: {name}"), "data": name })
            }
            Self::InvalidEncAlg(name) => {
                json!({ "message": format!("TPM Quote is using an unaccepted encryption algorithm: {name}"), "data": name })
            }
            Self::InvalidSignAlg(name) => {
                json!({ "message": format!("TPM Quote is using an unaccepted signing algorithm: {name}"), "data": name })
            }
            Self::InvalidImaEntry { got, expected } => json!({
                "message": "IMA measurement list entry number is not the requested one", "got": got, "expected": expected
            }),
            Self::Invalid(text) => json!({ "message": "Quote data validation", "error": text }),
            Self::Clock(text) => {
                json!({ "message": "Validation of clockinfo from quote using tpm2-tools", "data": text })
            }
            Self::InvalidQuote(text) => json!({ "message": format!("Quote validation failed: {text}") }),
        }
    }
}

/// PCR values that do not fit.
#[derive(Debug, Clone, PartialEq)]
pub enum PcrFailure {
    /// PCR 16 does not hold the payload key.
    InvalidDataPcr {
        /// Quoted value, hexadecimal.
        got: String,
        /// Value computed from the payload key, hexadecimal.
        expected: String,
    },
    /// PCR 16 is not in the quote.
    MissingDataPcr,
    /// A PCR was quoted that needs a log, and the log is absent.
    Unused(u8),
    /// A value is not in `tpm_policy`.
    Invalid {
        /// PCR number.
        pcr: u8,
        /// Quoted value, hexadecimal.
        got: String,
        /// Values of the policy.
        expected: Vec<String>,
    },
    /// PCRs that the policies or the request demand are absent.
    Missing(Vec<u8>),
    /// The measured boot policy is not JSON.
    InvalidBootPolicy,
    /// `measured_boot_evaluate` is neither `once` nor `always`.
    InvalidEvaluate(String),
}

impl PcrFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::InvalidDataPcr { .. } => Cow::Borrowed("invalid_pcr_16"),
            Self::MissingDataPcr => Cow::Borrowed("missing_pcr_16"),
            Self::Unused(pcr) => Cow::Owned(format!("unused_pcr_{pcr}")),
            Self::Invalid { pcr, .. } => Cow::Owned(format!("invalid_pcr_{pcr}")),
            Self::Missing(_) => Cow::Borrowed("missing_pcrs"),
            Self::InvalidBootPolicy => Cow::Borrowed("invalid_mb_policy"),
            Self::InvalidEvaluate(_) => Cow::Borrowed("invalid_measured_boot_evaluate"),
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::InvalidDataPcr { got, expected } => {
                json!({ "context": "PCR value is not the expected one", "got": got, "expected": expected })
            }
            Self::MissingDataPcr => json!({ "message": "PCR 16 is missing in quote" }),
            Self::Unused(pcr) => json!({ "message": format!("PCR {pcr} is quoted but its log is missing") }),
            Self::Invalid { got, expected, .. } => {
                json!({ "context": "PCR value is not in allowlist", "got": got, "expected": expected })
            }
            Self::Missing(pcrs) => json!({ "context": "PCRs are missing in quote", "data": pcrs }),
            Self::InvalidBootPolicy => json!({ "message": "measured boot policy is not valid" }),
            Self::InvalidEvaluate(value) => {
                json!({ "message": format!("measured_boot_evaluate must be once or always, not {value}") })
            }
        }
    }
}
