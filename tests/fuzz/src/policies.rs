//! What operators write.

use crate::{halves, text};
use keylime_engine::policy::python_regex::PythonRegex;
use keylime_engine::policy::tpm_policy::{TpmPolicy, read_operator_policy};
use keylime_engine::policy::{CompiledRuntimePolicy, SignatureRule, conversion, dsse, report, verify_upload};
use serde_json::Value;

/// A runtime policy: one that is accepted compiles.
pub fn runtime_policy(data: &[u8]) {
    let accepted = verify_upload(data, None, SignatureRule::NotRequired);
    let Some(text) = text(data) else { return };
    let compiled = CompiledRuntimePolicy::compile(text);
    if let Ok(compiled) = &compiled {
        let _ = (compiled.bad_exclude(), compiled.memory_bytes());
    }
    let _ = report::lint(text);
    assert!(accepted.is_err() || compiled.is_ok(), "accepted, and does not compile: {:?}", compiled.err());
}

/// Allowlists and policies of earlier versions.
pub fn legacy_policy(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(mut converted) = conversion::convert_allowlist(text) {
        conversion::add_excludes(&mut converted.policy, text);
        let _ = conversion::add_verification_key(&mut converted.policy, data);
        let _ = CompiledRuntimePolicy::compile(&converted.policy.to_string());
    }
    if let Ok(policy) = serde_json::from_str(text) {
        let _ = conversion::update_policy(policy);
    }
}

/// `tpm_policy`, stored and as the operator gives it.
pub fn tpm_policy(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _ = TpmPolicy::parse(text);
    if let Ok(policy) = read_operator_policy(text) {
        // The reference lets operators name register 24, which no mask can hold.
        let names_24 = policy.keys().any(|key| key.parse() == Ok(24));
        assert!(TpmPolicy::from_object(&policy).is_ok() || names_24, "{policy:?}");
    }
}

const KEY: &[u8] = include_bytes!("../corpus/dsse_key.pem");

/// Envelopes, against a key that signed none of the corpus.
pub fn dsse(data: &[u8]) {
    let Ok(envelope) = serde_json::from_slice::<Value>(data) else { return };
    let _ = dsse::payload(&envelope);
    let _ = dsse::self_certified_payload(&envelope);
    let _ = dsse::key_ids(&envelope).count();
    assert!(dsse::verified_payload(&envelope, KEY).is_err());
}

/// A pattern of Python's `re`, and after the first zero byte a text to match.
pub fn python_regex(data: &[u8]) {
    let (pattern, subject) = halves(data);
    let (Some(pattern), Some(subject)) = (text(pattern), text(subject)) else { return };
    let (prefix, full) = (PythonRegex::prefix_match(pattern), PythonRegex::full_match(pattern));
    assert_eq!(prefix.is_ok(), full.is_ok());
    if let (Ok(prefix), Ok(full)) = (prefix, full) {
        let (prefix, full) = (prefix.is_match(subject), full.is_match(subject));
        // A match of the whole text is one of its beginning, unless the matcher gave up.
        assert!(prefix || !full || pattern.len() + subject.len() > 64, "{pattern:?} {subject:?}");
    }
}
