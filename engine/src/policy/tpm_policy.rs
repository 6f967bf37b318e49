//! `tpm_policy`: which PCRs must be quoted with which values (`tpm-formats.md` §4, `evidence-and-tee.md` §3).
//!
//! Compiled once per content; a check on a quote neither parses nor allocates unless it fails.

use crate::algorithm::Digest;
use crate::tpm::pcr_mask::{InvalidPcrMask, PcrMask};
use serde_json::{Map, Value};

/// Longest policy text that is read, in bytes.
pub const MAX_TPM_POLICY_BYTES: usize = 1024 * 1024;

/// Largest PCR number the tenant lets pass, although no TPM has a PCR 24.
const LARGEST_OPERATOR_PCR: u32 = 24;

/// A compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmPolicy {
    mask: Option<PcrMask>,
    /// Ascending by PCR, each PCR once.
    rules: Vec<PcrRule>,
}

/// The values one PCR may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrRule {
    pcr: u8,
    allowed: Allowed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// Any of these; texts that are no digest in lower-case hexadecimal can never match and are kept for reports only.
    List { texts: Vec<String>, digests: Vec<Digest> },
    /// Any value whose hexadecimal form occurs in this text (a string in place of a list means that).
    Within(String),
}

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTpmPolicy {
    /// Longer than [`MAX_TPM_POLICY_BYTES`].
    #[error("tpm policy has {0} bytes, more than {MAX_TPM_POLICY_BYTES}")]
    TooLong(usize),
    /// Not JSON.
    #[error("tpm policy is not JSON: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("tpm policy is not a JSON object")]
    NotObject,
    /// A key that is not a PCR number.
    #[error("Invalid tpm policy pcr number: {0}")]
    PcrNumber(String),
    /// PCR 16 in an operator's policy.
    #[error("Invalid allowlist PCR number {0}, keylime uses this PCR to bind data.")]
    DataPcr(String),
    /// PCR 10 in an operator's policy.
    #[error("Invalid allowlist PCR number {0}, this PCR is used for IMA.")]
    ImaPcr(String),
    /// Values that are neither a text nor a list of texts.
    #[error("tpm policy: values of pcr {0} are neither a string nor a list of strings")]
    Values(String),
    /// A mask that is not a hexadecimal text of PCRs 0 to 23.
    #[error("tpm policy: {0}")]
    Mask(#[from] InvalidPcrMask),
    /// A mask that is not a text.
    #[error("tpm policy: mask is not a string")]
    MaskType,
}

impl TpmPolicy {
    /// Compiles the text a verifier stores: PCR numbers, lists of values, and `mask`.
    ///
    /// # Errors
    /// See [`InvalidTpmPolicy`].
    pub fn parse(text: &str) -> Result<Self, InvalidTpmPolicy> {
        Self::from_object(&parse_object(text)?)
    }

    /// The object a policy's text holds.
    ///
    /// # Errors
    /// See [`InvalidTpmPolicy`].
    pub(crate) fn parse_object(text: &str) -> Result<Map<String, Value>, InvalidTpmPolicy> {
        parse_object(text)
    }

    /// Compiles a JSON object.
    ///
    /// # Errors
    /// See [`InvalidTpmPolicy`].
    pub fn from_object(object: &Map<String, Value>) -> Result<Self, InvalidTpmPolicy> {
        let mut policy = Self::default();
        for (key, value) in object {
            if key == "mask" {
                let text = value.as_str().ok_or(InvalidTpmPolicy::MaskType)?;
                policy.mask = Some(PcrMask::from_hex(text)?);
                continue;
            }
            let pcr: u8 = key.trim().parse().map_err(|_| InvalidTpmPolicy::PcrNumber(key.clone()))?;
            let rule = PcrRule { pcr, allowed: Allowed::from_json(key, value)? };
            match policy.rules.binary_search_by_key(&pcr, |r| r.pcr) {
                Ok(same) => policy.rules[same] = rule,
                Err(place) => policy.rules.insert(place, rule),
            }
        }
        Ok(policy)
    }

    /// The PCRs that are asked of an agent; `None` when the policy names no mask.
    #[must_use]
    pub const fn mask(&self) -> Option<PcrMask> {
        self.mask
    }

    /// The rule for a PCR.
    #[must_use]
    pub fn rule(&self, pcr: u8) -> Option<&PcrRule> {
        self.rules.binary_search_by_key(&pcr, |rule| rule.pcr).ok().map(|place| &self.rules[place])
    }

    /// The PCRs that have a rule, ascending; may hold numbers no TPM has, which no quote can satisfy.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> + '_ {
        self.rules.iter().map(|rule| rule.pcr)
    }

    /// The PCRs whose rule names at least one value: those a push agent has to quote (`evidence-and-tee.md` §5).
    pub fn demanded_pcrs(&self) -> impl Iterator<Item = u8> + '_ {
        self.rules.iter().filter(|rule| !rule.allowed.is_empty()).map(|rule| rule.pcr)
    }
}

impl PcrRule {
    /// Whether a PCR may have this value.
    #[must_use]
    pub fn allows(&self, value: &Digest) -> bool {
        match &self.allowed {
            Allowed::List { digests, .. } => digests.contains(value),
            Allowed::Within(text) => text.contains(&value.to_hex()),
        }
    }

    /// The values as the policy spells them, for reports.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        match &self.allowed {
            Allowed::List { texts, .. } => texts.clone(),
            Allowed::Within(text) => vec![text.clone()],
        }
    }
}

impl Allowed {
    fn is_empty(&self) -> bool {
        match self {
            Self::List { texts, .. } => texts.is_empty(),
            Self::Within(text) => text.is_empty(),
        }
    }

    fn from_json(key: &str, value: &Value) -> Result<Self, InvalidTpmPolicy> {
        match value {
            Value::String(text) => Ok(Self::Within(text.clone())),
            Value::Array(items) => {
                let texts = items
                    .iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| InvalidTpmPolicy::Values(key.to_owned()))?;
                let digests = texts.iter().filter_map(|text| exact_digest(text)).collect();
                Ok(Self::List { texts, digests })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Err(InvalidTpmPolicy::Values(key.to_owned()))
            }
        }
    }
}

/// The digest a text spells in lower-case hexadecimal, the only spelling that matches.
fn exact_digest(text: &str) -> Option<Digest> {
    if text.is_empty() || text.len() > 128 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok().map(|bytes| Digest::from_slice(&bytes))
}

/// Reads the policy an operator gives to the tenant: values become lists of lower-case texts, and `mask` is added.
///
/// # Errors
/// See [`InvalidTpmPolicy`].
pub fn read_operator_policy(text: &str) -> Result<Map<String, Value>, InvalidTpmPolicy> {
    let mut object = parse_object(text)?;
    let mut mask = 0_u32;
    for (key, value) in &mut object {
        mask |= 1 << operator_pcr(key)?;
        let items = match value {
            Value::String(text) => vec![Value::String(text.to_lowercase())],
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(|text| Value::String(text.to_lowercase())))
                .collect::<Option<_>>()
                .ok_or_else(|| InvalidTpmPolicy::Values(key.clone()))?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(InvalidTpmPolicy::Values(key.clone()));
            }
        };
        *value = Value::Array(items);
    }
    object.insert("mask".to_owned(), Value::String(format!("{mask:#x}")));
    Ok(object)
}

fn operator_pcr(key: &str) -> Result<u32, InvalidTpmPolicy> {
    let invalid = || InvalidTpmPolicy::PcrNumber(key.to_owned());
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    match key.parse::<u32>() {
        Ok(16) => Err(InvalidTpmPolicy::DataPcr(key.to_owned())),
        Ok(10) => Err(InvalidTpmPolicy::ImaPcr(key.to_owned())),
        Ok(pcr) if pcr <= LARGEST_OPERATOR_PCR => Ok(pcr),
        Ok(_) | Err(_) => Err(invalid()),
    }
}

fn parse_object(text: &str) -> Result<Map<String, Value>, InvalidTpmPolicy> {
    if text.len() > MAX_TPM_POLICY_BYTES {
        return Err(InvalidTpmPolicy::TooLong(text.len()));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(InvalidTpmPolicy::NotObject),
        Err(error) => Err(InvalidTpmPolicy::Json(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_exact_lower_case_values_of_any_bank() {
        let sha1 = Digest::filled(0xAB, 20);
        let sha256 = Digest::filled(0xAB, 32);
        let policy = TpmPolicy::parse(&format!(r#"{{"7":["{}","zz"],"mask":"0x80"}}"#, sha256.to_hex())).unwrap();
        assert_eq!(policy.mask(), Some(PcrMask::of([7])));
        assert!(policy.rule(7).unwrap().allows(&sha256));
        assert!(!policy.rule(7).unwrap().allows(&sha1));
        let upper = TpmPolicy::parse(&format!(r#"{{"7":["{}"]}}"#, sha256.to_hex().to_uppercase())).unwrap();
        assert!(!upper.rule(7).unwrap().allows(&sha256));
        let text = TpmPolicy::parse(&format!(r#"{{"7":"x{}y"}}"#, sha256.to_hex())).unwrap();
        assert!(text.rule(7).unwrap().allows(&sha256));
    }

    #[test]
    fn refuses_what_would_end_the_first_poll() {
        for text in ["", "[]", "1", r#"{"x":[]}"#, r#"{"-1":[]}"#, r#"{"999":[]}"#, r#"{"0":5}"#, r#"{"0":[5]}"#] {
            assert!(TpmPolicy::parse(text).is_err(), "{text}");
        }
        assert!(TpmPolicy::parse(r#"{"mask":4}"#).is_err());
        assert!(TpmPolicy::parse(r#"{"mask":"0x1000000"}"#).is_err());
        assert_eq!(TpmPolicy::parse("{}").unwrap(), TpmPolicy::default());
    }
}
