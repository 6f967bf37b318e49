//! A push agent's requests, well-formed and without any cryptography: what they prove is decided by the test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::evidence::attestation::Attestation;
use keylime_engine::evidence::negotiation::NegotiationTerms;
use keylime_engine::evidence::offer::{BootTime, Offer};
use keylime_engine::evidence::requirements::{Demand, Requirements};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::lifecycle::push_transition::{FailureRecovery, PushSettings, TimeoutRecovery, TokenExtension};
use keylime_engine::lifecycle::{Growth, RetryBackoff};
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::verdict::SeverityPolicy;
use serde_json::{Value, json};
use std::time::Duration;

/// An AK of 2048 bits, from a recorded flow.
pub const AK: &str = "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQCVuPOnhlo6wwsv5v0HnFreHnD5mKjosBWwZ1ETtE0o3ODHGEghI1mpdb3rJUFPmBZwEnh+HzZobfopZSBUlNxmlEIaH6BRuXeXAc53XEhvMFypZg9MxC4tpgvcosFLjzsrTf5yNQTLmK7PN5N2dujwXKRA7x66TkDoz+KSkGYJntaUPQmBAH129A40gDBWzrURs1ByvOm9BetZZMMsZQt9Ih/LiUh0mQDd7l0iA+5EQI4yewptRaK8i2RgepKktlUmUgluyMFZIy/PJCsoX3OoIXVYQuG01GJJpDUQqcNDKsDvF0RmTi/Hvx0a0BqsRaWqG61HB9mrYeOgb6hVRoc9";

/// An agent's key and the operator's lists.
pub struct Enrolment {
    key: AttestationKey,
    hash: Vec<String>,
    sign: Vec<String>,
}

impl Enrolment {
    pub fn new() -> Self {
        Self {
            key: AttestationKey::from_base64(AK).unwrap(),
            hash: vec!["sha256".to_owned()],
            sign: vec!["rsassa".to_owned(), "ecdsa".to_owned()],
        }
    }

    /// Terms that call for PCR 10 and the measurement list.
    pub fn terms(&self) -> NegotiationTerms<'_> {
        let requirements = Requirements { pcrs: PcrMask::of([10]), uefi: Demand::NotWanted, ima: Demand::Wanted };
        NegotiationTerms {
            requirements,
            accepted_hash: &self.hash,
            accepted_sign: &self.sign,
            attestation_key: &self.key,
        }
    }
}

/// Settings with an interval of two seconds.
pub fn settings() -> PushSettings {
    let labels = ["low", "high"].map(String::from).to_vec();
    let rules = [("pcr_validation.*".to_owned(), "low".to_owned()), (".*".to_owned(), "high".to_owned())];
    PushSettings {
        quote_interval: Duration::from_secs(2),
        challenge_lifetime: Duration::from_mins(30),
        verification_timeout: Duration::ZERO,
        failure_recovery: FailureRecovery::Automatic,
        timeout_recovery: TimeoutRecovery::Automatic,
        token_extension: TokenExtension::OnPass,
        backoff: RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential },
        severity: SeverityPolicy::new(labels, &rules).unwrap(),
    }
}

/// The evidence an agent offers, as JSON.
pub fn offered(entries: u64) -> Value {
    json!([
        {"evidence_class": "certification", "evidence_type": "tpm_quote", "capabilities": {
            "component_version": "2.0", "hash_algorithms": ["sha256"], "signature_schemes": ["rsassa"],
            "available_subjects": {"sha256": [10, 16]},
            "certification_keys": [{"key_class": "asymmetric", "key_algorithm": "rsa", "key_size": 2048,
                "server_identifier": "ak", "public": AK}]}},
        {"evidence_class": "log", "evidence_type": "ima_log", "capabilities": {
            "entry_count": entries, "supports_partial_access": true, "appendable": true, "formats": ["text/plain"]}}
    ])
}

/// An offer of an agent that booted at this second.
pub fn offer(boot_second: i64, entries: u64) -> Offer {
    Offer::read(Some(&offered(entries)), BootTime::At(boot_second * 1_000_000)).unwrap()
}

/// A quote structure with this nonce; nobody signed it.
pub fn attest(nonce: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 0];
    out.extend_from_slice(&u16::try_from(nonce.len()).unwrap().to_be_bytes());
    out.extend_from_slice(nonce);
    out.extend_from_slice(&[0; 8 + 4 + 4]);
    out.push(1);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0x0B, 3, 0, 4, 0, 0, 0]);
    out
}

/// The PCR values of every quote.
pub fn subject_data() -> Vec<u8> {
    pcr_blob::write_bank(&PcrBank::from_values(HashAlgorithm::Sha256, [(10, Digest::filled(1, 32))]))
}

/// Evidence that answers `nonce` with this many log lines.
pub fn evidence(nonce: &[u8], lines: u64) -> Value {
    json!([
        {"evidence_class": "certification", "evidence_type": "tpm_quote", "data": {
            "message": STANDARD.encode(attest(nonce)), "signature": STANDARD.encode([0, 0x14, 0, 0x0B]),
            "subject_data": STANDARD.encode(subject_data())}},
        {"evidence_class": "log", "evidence_type": "ima_log", "data": {
            "entry_count": lines, "entries": "x y\n".repeat(usize::try_from(lines).unwrap())}}
    ])
}

/// The challenge of an attestation.
pub fn challenge(attestation: &Attestation) -> Vec<u8> {
    attestation.quote_parameters().unwrap().challenge.as_bytes().to_vec()
}
