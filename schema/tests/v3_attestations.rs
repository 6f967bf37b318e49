//! The recorded exchanges of a push agent, byte for byte; the times, the challenge and the version in links are those of
//! the recording.

use keylime_engine::evidence::attestation::{Attestation, AttestationIndex, Challenge, Evaluation, Stage, WallMicros};
use keylime_engine::evidence::negotiation::{KnownList, NegotiationTerms, negotiate};
use keylime_engine::evidence::requirements::{Demand, Requirements};
use keylime_engine::evidence::submission::read_evidence;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::lifecycle::Refusal;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use keylime_schema::wire::v3::attestation::{AttestationAttributes, View};
use keylime_schema::wire::v3::attestation_refusal;
use keylime_schema::wire::v3::attestation_request::{evidence_of, read_offer};
use keylime_schema::wire::v3::binary;
use keylime_schema::wire::v3::json_api::{self, Document, Resource};
use keylime_schema::wire::v3::timestamp::UtcMicros;
use serde_json::Value;

const EXCHANGES: &str = include_str!("data/v3/v3-attestations.json");
const REFUSALS: &str = include_str!("data/v3/v3-negotiation-errors.json");
const AGENT: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c0000a";

/// One recorded request and its answer.
struct Exchange {
    path: String,
    attributes: serde_json::Map<String, Value>,
    answer: String,
}

fn exchange(recording: &str, number: usize) -> Exchange {
    let all: Vec<Value> = serde_json::from_str(recording).unwrap();
    let text = |part: &str, member: &str| all[number][part][member].as_str().unwrap().to_owned();
    let attributes = json_api::parse(text("request", "body").as_bytes()).unwrap().map(|resource| resource.attributes);
    Exchange {
        path: text("request", "path"),
        attributes: attributes.unwrap_or_default(),
        answer: text("response", "body"),
    }
}

fn member<'v>(answer: &'v Value, path: &str) -> &'v Value {
    answer.pointer(path).unwrap_or(&Value::Null)
}

fn time_of(answer: &Value, name: &str) -> Option<WallMicros> {
    let value = member(answer, &format!("/data/attributes/{name}"));
    UtcMicros::from_value(value).ok().map(|time| WallMicros(time.micros()))
}

fn key_of(attributes: &serde_json::Map<String, Value>) -> AttestationKey {
    let offered = Value::Object(attributes.clone());
    let public = offered.pointer("/evidence_supported/0/capabilities/certification_keys/0/public").unwrap();
    AttestationKey::from_base64(public.as_str().unwrap()).unwrap()
}

fn accept_lists() -> (Vec<String>, Vec<String>) {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    (list(&["sha512", "sha384", "sha256"]), list(&["ecschnorr", "rsassa"]))
}

/// Negotiates a recorded offer as the recorded verifier did, which judged a measurement list.
fn open(
    exchange: &Exchange,
    known: KnownList,
    challenge: &[u8],
) -> Result<Attestation, Vec<keylime_engine::evidence::field_error::FieldError>> {
    let offer = read_offer(&exchange.attributes)?;
    let key = key_of(&exchange_zero().attributes);
    let (accepted_hash, accepted_sign) = accept_lists();
    let policy = TpmPolicy::parse(r#"{"mask": "0x400"}"#).unwrap();
    let terms = NegotiationTerms {
        requirements: Requirements::of(&policy, Demand::NotWanted, Demand::Wanted),
        accepted_hash: &accepted_hash,
        accepted_sign: &accepted_sign,
        attestation_key: &key,
    };
    let negotiated = negotiate(&offer, &terms, known, Challenge::from_stored(challenge).unwrap())?;
    let answer: Value = serde_json::from_str(&exchange.answer).unwrap_or_default();
    Ok(Attestation {
        index: AttestationIndex(0),
        stage: Stage::AwaitingEvidence,
        boot_time: negotiated.boot_time,
        capabilities_received: time_of(&answer, "capabilities_received_at").unwrap_or_default(),
        challenges_expire: time_of(&answer, "challenges_expire_at"),
        evidence_received: None,
        verification_completed: None,
        items: negotiated.items,
    })
}

fn exchange_zero() -> Exchange {
    exchange(EXCHANGES, 0)
}

fn opened(exchange: &Exchange, known: KnownList) -> Attestation {
    let answer: Value = serde_json::from_str(&exchange.answer).unwrap();
    let challenge = member(&answer, "/data/attributes/evidence_requested/0/chosen_parameters/challenge");
    open(exchange, known, &binary::decode(challenge.as_str().unwrap(), 64).unwrap()).unwrap()
}

fn render(attestation: &Attestation, view: View, self_link: &str, path: &str, next: Option<u32>) -> String {
    let attributes = AttestationAttributes::new(attestation, view);
    let resource = Resource { kind: "attestation", id: None, attributes, self_link: Some(self_link.to_owned()) };
    let mut document = Document::one(resource);
    if let Some(next) = next {
        document = document.with_meta("seconds_to_next_attestation", next);
    }
    String::from_utf8(document.render(path).unwrap()).unwrap()
}

#[test]
fn opened_attestations_are_the_recorded_ones() {
    const BOOT: i64 = 1_767_225_600_000_000;
    for (number, index, entries) in [(0, 0, 0), (15, 1, 4), (20, 2, 4), (24, 3, 5), (29, 4, 5), (30, 5, 5)] {
        let exchange = exchange(EXCHANGES, number);
        let known = KnownList { boot_time: Some(BOOT), entries };
        let attestation = opened(&exchange, known);
        let self_link = format!("{}/{index}", exchange.path);
        let text = render(&attestation, View::Requested, &self_link, &exchange.path, None);
        assert_eq!(text, exchange.answer, "exchange {number}");
    }
}

#[test]
fn acknowledged_and_read_attestations_are_the_recorded_ones() {
    let mut attestation = opened(&exchange_zero(), KnownList::default());
    let sent = exchange(EXCHANGES, 8);
    let collected = read_evidence(evidence_of(&sent.attributes), &attestation).unwrap();
    for (item, data) in attestation.items.iter_mut().zip(collected) {
        item.data = Some(data);
    }
    let answer: Value = serde_json::from_str(&sent.answer).unwrap();
    attestation.stage = Stage::EvaluatingEvidence;
    attestation.evidence_received = time_of(&answer, "evidence_received_at");
    let self_link = format!("/3/agents/{AGENT}/attestations/0");
    assert_eq!(render(&attestation, View::Acknowledged, &self_link, &sent.path, Some(3)), sent.answer);

    let read = exchange_without_body(9);
    let answer: Value = serde_json::from_str(&read.1).unwrap();
    attestation.stage = Stage::Complete(Evaluation::Pass);
    attestation.evidence_received = time_of(&answer, "evidence_received_at");
    assert_eq!(render(&attestation, View::Full, &self_link, &read.0, None), read.1);
}

fn exchange_without_body(number: usize) -> (String, String) {
    let all: Vec<Value> = serde_json::from_str(EXCHANGES).unwrap();
    let path = all[number]["request"]["path"].as_str().unwrap().to_owned();
    (path, all[number]["response"]["body"].as_str().unwrap().to_owned())
}

#[test]
fn refused_offers_are_told_what_was_recorded() {
    // 10 offers PCRs without naming banks, which the documentation shows and this verifier takes; 12 has a key of another
    // family than its own public area; 17 is a class that the reference does not survive.
    for number in [5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16] {
        let exchange = exchange(REFUSALS, number);
        let errors = open(&exchange, KnownList::default(), &[7; 16]).expect_err(&format!("exchange {number}"));
        assert_eq!(refusal(&Refusal::Invalid(errors), &exchange.path), exchange.answer, "exchange {number}");
    }
    for (number, entries) in [(27, 5), (28, 5)] {
        let exchange = exchange(EXCHANGES, number);
        let known = KnownList { boot_time: Some(1_767_225_600_000_000), entries };
        let errors = open(&exchange, known, &[7; 16]).expect_err(&format!("exchange {number}"));
        assert_eq!(refusal(&Refusal::Invalid(errors), &exchange.path), exchange.answer, "exchange {number}");
    }
}

#[test]
fn refused_evidence_is_told_what_was_recorded() {
    let attestation = opened(&exchange_zero(), KnownList::default());
    for number in [3, 4, 5, 6, 7] {
        let exchange = exchange(EXCHANGES, number);
        let errors = read_evidence(evidence_of(&exchange.attributes), &attestation).unwrap_err();
        assert_eq!(refusal(&Refusal::Invalid(errors), &exchange.path), exchange.answer, "exchange {number}");
    }
    let of_stage = [
        (1, Refusal::NotLatest),
        (2, Refusal::NoEvidence),
        (13, Refusal::Premature { retry_after: 3 }),
        (14, Refusal::EvidenceImmutable(AttestationIndex(0))),
        (31, Refusal::NotLatest),
        (34, Refusal::NoAttestation),
    ];
    for (number, kind) in of_stage {
        let (path, answer) = exchange_without_body(number);
        assert_eq!(refusal(&kind, &path), answer, "exchange {number}");
    }
}

#[test]
fn an_expired_challenge_says_when() {
    let at = WallMicros(1_767_225_600_000_000);
    let errors =
        attestation_refusal::errors(&Refusal::ChallengesExpired(AttestationIndex(4), Some(at)), AGENT, Some("4"));
    let detail = "Challenges for attestation 4 expired at 2026-01-01 00:00:00.000000+00:00. Create a new attestation and \
                  try again.";
    assert_eq!((errors[0].status, errors[0].code, errors[0].detail.as_str()), (403, "challenges_expired", detail));
}

fn refusal(refusal: &Refusal, path: &str) -> String {
    let index = path.rsplit('/').next().filter(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let errors = attestation_refusal::errors(refusal, AGENT, index);
    String::from_utf8(Document::errors(errors).render(path).unwrap()).unwrap()
}
