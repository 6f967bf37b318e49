//! What travels as evidence, and the model's appraisal of it: everything but cryptography.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{Attestation, FailureReason};
use keylime_engine::evidence::capabilities::EvidenceType;
use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::{Extent, QuoteAlgorithms, Verdict};
use keylime_engine::tpm::attest_structure::QuoteAttest;
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::{PcrFailure, QuoteFailure};
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::verdict::{Failure, Failures};
use serde_json::{Value, json};

/// An agent's answer to a quote request.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    pub nonce: Vec<u8>,
    pub clock: ClockInfo,
    pub boot: i64,
    /// First entry and number after the last.
    pub entries: (u64, u64),
    pub evil: bool,
}

/// The verdict on an answer, given what was asked for and what is known.
pub fn judge(quote: &Quote, nonce: &[u8], ima: &ImaState, clock: &ClockInfo) -> Verdict {
    let failed = |failure, ima| Verdict::Failed {
        failures: Failures::one(failure),
        ima,
        extent: Extent::Judged(QuoteAlgorithms::default()),
    };
    if quote.entries.0 != 0 && quote.boot != ima.boottime {
        return Verdict::BoottimeChanged { ima: ImaState { boottime: quote.boot, ..ImaState::default() } };
    }
    if quote.nonce != nonce {
        return failed(Failure::Quote(QuoteFailure::Invalid("nonce".to_owned())), ima.clone());
    }
    if let Err(violation) = quote.clock.may_follow(clock) {
        return failed(Failure::Quote(QuoteFailure::Clock(violation.to_string())), ima.clone());
    }
    if quote.evil {
        return failed(Failure::Pcr(PcrFailure::MissingDataPcr), ImaState::default());
    }
    Verdict::Passed {
        clock: quote.clock,
        ima: ImaState { next_entry: quote.entries.1, boottime: quote.boot, ..ImaState::default() },
        payload_key: None,
        algorithms: QuoteAlgorithms::default(),
    }
}

/// The verdict on evidence that was sent.
pub fn judge_push(attestation: &Attestation, ima: &ImaState, clock: &ClockInfo) -> PushVerdict {
    let failed = |failure, reason, clock| PushVerdict::Failed { failures: Failures::one(failure), reason, clock };
    let broken = |text: &str| {
        let failure = Failure::Quote(QuoteFailure::Invalid(text.to_owned()));
        failed(failure, FailureReason::BrokenEvidenceChain, None)
    };
    let (Some(quote), Some(parameters)) = (attestation.quote(), attestation.quote_parameters()) else {
        return broken("there is no quote");
    };
    let Ok(attest) = QuoteAttest::parse(&quote.message) else { return broken("unreadable") };
    if attest.extra_data != parameters.challenge.as_bytes() {
        return broken("nonce");
    }
    if attest.clock.may_follow(clock).is_err() {
        return broken("clock");
    }
    let entries = attestation.log(EvidenceType::ImaLog).map_or("", |log| log);
    if entries.contains("evil") {
        let failure = Failure::Pcr(PcrFailure::MissingDataPcr);
        return failed(failure, FailureReason::PolicyViolation, Some(attest.clock));
    }
    let count = entries.lines().count() as u64;
    let offset = attestation.ima_offset();
    let known = if offset == 0 { 0 } else { ima.next_entry };
    let boottime = attestation.boot_time.unwrap_or(0).div_euclid(1_000_000);
    PushVerdict::Passed {
        clock: attest.clock,
        ima: ImaState { next_entry: known + count, boottime, ..ImaState::default() },
        certified_entries: count,
    }
}

/// A quote structure with this nonce and clock; nobody signed it.
pub fn attest(nonce: &[u8], clock: &ClockInfo) -> Vec<u8> {
    let mut out = vec![0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 0, 0];
    out.push(u8::try_from(nonce.len()).unwrap_or(0));
    out.extend_from_slice(nonce);
    out.extend_from_slice(&clock.clock.to_be_bytes());
    out.extend_from_slice(&clock.reset_count.to_be_bytes());
    out.extend_from_slice(&clock.restart_count.to_be_bytes());
    out.push(clock.safe);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0x0B, 3, 0, 4, 0, 0, 0]);
    out
}

/// The PCR values of every quote, base64.
pub fn subject_data() -> String {
    STANDARD.encode(pcr_blob::write_bank(&PcrBank::from_values(HashAlgorithm::Sha256, [(10, Digest::filled(1, 32))])))
}

/// The members of a request that sends evidence.
pub fn collected(
    nonce: &[u8],
    clock: &ClockInfo,
    subject_data: &str,
    (from, to): (u64, u64),
    evil: Option<u64>,
) -> Value {
    let mut entries = String::new();
    for entry in from..to {
        entries.push_str(if evil == Some(entry) { "evil\n" } else { "good\n" });
    }
    json!([
        {"evidence_class": "certification", "evidence_type": "tpm_quote", "data": {
            "message": STANDARD.encode(attest(nonce, clock)), "signature": "ABQACw==", "subject_data": subject_data}},
        {"evidence_class": "log", "evidence_type": "ima_log", "data": {"entries": entries}}
    ])
}
