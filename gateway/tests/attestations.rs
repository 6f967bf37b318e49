//! Attestations of push agents at the wire: every status, its headers and the shape of its body.

mod support;

use async_trait::async_trait;
use keylime_engine::evidence::attestation::{AttestationIndex, WallMicros};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::Refusal;
use keylime_gateway::authorization::{TokenCheck, TokenRefusal, Tokens};
use keylime_gateway::routes::{attestation_routes, verifier_routes};
use serde_json::{Value, json};
use std::sync::Arc;
use support::backends::{ScriptedVerifier, verifier_state};
use support::certificates::Client;
use support::client::Answer;
use support::running::{Bounds, TestServer};

/// Every token is the name of its agent.
struct NamedTokens;

#[async_trait]
impl Tokens for NamedTokens {
    async fn check(&self, token: &str) -> TokenCheck {
        AgentId::parse(token).map_or(TokenCheck::Refused(TokenRefusal::Unknown), TokenCheck::Agent)
    }
}

const TYPE: (&str, &str) = ("Content-Type", "application/vnd.api+json");
const TOKEN: (&str, &str) = ("Authorization", "Bearer a1");
const PATH: &str = "/v3.0/agents/a1/attestations";
const OFFER: &str = r#"{"data":{"type":"attestation","attributes":{"evidence_supported":[]}}}"#;
const EVIDENCE: &str = r#"{"data":{"type":"attestation","attributes":{"evidence_collected":[1]}}}"#;

fn server() -> (TestServer, Arc<ScriptedVerifier>) {
    let backend = Arc::new(ScriptedVerifier::with_agents(["a1".to_owned()]));
    let mut routes = verifier_routes();
    routes.extend(attestation_routes());
    let state = verifier_state(Arc::clone(&backend));
    (TestServer::start_guarded(routes, state, Arc::new(NamedTokens), Bounds::default()), backend)
}

fn ask(server: &TestServer, method: &str, path: &str, body: &str) -> Answer {
    server.ask(Client::None, method, path, &[TYPE, TOKEN], body)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json().pointer("/errors/0/code").and_then(Value::as_str).unwrap_or_default().to_owned())
}

#[test]
fn opening_answers_201_with_the_place_of_the_attestation() {
    let (server, _) = server();
    for path in [PATH, "/v3/agents/a1/attestations", "/v3.0/agents/a1/attestations/"] {
        let answer = ask(&server, "POST", path, OFFER);
        let location = format!("{}/7", path.trim_end_matches('/'));
        assert_eq!((answer.status, answer.header("location")), (201, Some(location.as_str())));
        assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
        let expected = json!({
            "data": {"type": "attestation", "attributes": {
                "stage": "awaiting_evidence", "evidence_requested": [],
                "system_info": {"boot_time": "2026-01-01T00:00:00.000000+00:00"},
                "capabilities_received_at": "2026-01-01T00:00:01.000002+00:00",
                "challenges_expire_at": "2026-01-01T00:30:01.000002+00:00"},
                "links": {"self": location}},
            "links": {"self": path}, "jsonapi": {"version": "1.1"}});
        assert_eq!(answer.json(), expected);
    }
}

#[test]
fn evidence_answers_202_with_the_time_to_the_next() {
    let (server, backend) = server();
    for (path, index) in [("/latest", None), ("/7", Some("7".to_owned()))] {
        let answer = ask(&server, "PATCH", &format!("{PATH}{path}"), EVIDENCE);
        assert_eq!((answer.status, answer.header("location")), (202, Some("/v3.0/agents/a1/attestations/7")));
        assert_eq!(answer.json()["meta"], json!({"seconds_to_next_attestation": 3}));
        assert_eq!(backend.sent.lock().unwrap().pop(), Some((index, Some(Some(json!([1]))))));
    }
    // An agent that could not collect its evidence says so with another type and no evidence.
    ask(&server, "PATCH", &format!("{PATH}/7"), r#"{"data":{"type":"error","attributes":{"a":1}}}"#);
    assert_eq!(backend.sent.lock().unwrap().pop(), Some((Some("7".to_owned()), None)));
    ask(&server, "PATCH", &format!("{PATH}/7"), r#"{"data":{"type":"attestation","attributes":{"a":1}}}"#);
    assert_eq!(backend.sent.lock().unwrap().pop(), Some((Some("7".to_owned()), Some(None))));
}

#[test]
fn every_refusal_has_its_status_code_and_header() {
    let (server, backend) = server();
    let index = AttestationIndex(7);
    for (refusal, status, name, retry) in [
        (Refusal::AttestationsDisabled, 403, "agent_attestations_disabled", None),
        (Refusal::FailedRetry { retry_after: 4 }, 503, "attestation_failed_retry", Some("4")),
        (Refusal::VerificationInProgress { retry_after: 5 }, 503, "verification_in_progress", Some("5")),
        (Refusal::Premature { retry_after: 6 }, 429, "premature_attestation", Some("6")),
        (Refusal::Conflict, 409, "conflict", None),
        (Refusal::NoAttestation, 404, "not_found", None),
        (Refusal::NotLatest, 403, "old_attestation", None),
        (Refusal::EvidenceImmutable(index), 403, "evidence_immutable", None),
        (Refusal::ChallengesExpired(index, Some(WallMicros(1))), 403, "challenges_expired", None),
        (Refusal::ChallengesExpired(index, None), 403, "challenges_expired", None),
        (Refusal::NoEvidence, 400, "invalid_request", None),
        (Refusal::Busy { retry_after: 2 }, 503, "service_unavailable", Some("2")),
    ] {
        *backend.refusal.lock().unwrap() = Some(refusal.clone());
        for (method, path) in [("POST", ""), ("PATCH", "/latest"), ("PATCH", "/7")] {
            let answer = ask(&server, method, &format!("{PATH}{path}"), OFFER);
            assert_eq!(code(&answer), (status, name.to_owned()), "{refusal:?}");
            assert_eq!(answer.header("retry-after"), retry, "{refusal:?}");
            assert_eq!(answer.json()["links"]["self"], format!("{PATH}{path}"));
        }
    }
    *backend.refusal.lock().unwrap() = None;
    let answer = ask(&server, "POST", PATH, r#"{"data":{"type":"attestation","attributes":{"x":1}}}"#);
    assert_eq!(code(&answer), (422, "invalid_resource_data".to_owned()));
    assert_eq!(answer.json()["errors"][0]["source"]["pointer"], "/data/attributes/evidence");
}

#[test]
fn requests_that_are_no_documents_are_refused_before_anything_else() {
    let (server, backend) = server();
    let plain = server.ask(Client::None, "POST", PATH, &[("Content-Type", "application/json"), TOKEN], OFFER);
    assert_eq!((plain.status, plain.body.as_str()), (415, ""));
    assert_eq!(server.ask(Client::None, "PATCH", &format!("{PATH}/7"), &[TOKEN], EVIDENCE).status, 415);
    for body in ["", "{", "[]", "{}", r#"{"data":{}}"#, r#"{"data":{"type":"attestation","x":1}}"#, r#"{"data":1}"#] {
        assert_eq!(ask(&server, "POST", PATH, body).status, 400, "{body}");
    }
    assert_eq!(code(&ask(&server, "POST", PATH, r#"{"data":{"type":"other"}}"#)), (400, "invalid_request".to_owned()));
    assert!(backend.sent.lock().unwrap().is_empty());
}

#[test]
fn only_the_agent_itself_may_attest() {
    let (server, _) = server();
    let other = ("Authorization", "Bearer a2");
    for (client, headers, status) in [
        (Client::None, vec![TYPE], 403),
        (Client::Admin, vec![TYPE], 403),
        (Client::None, vec![TYPE, other], 403),
        (Client::Admin, vec![TYPE, other], 403),
        (Client::None, vec![TYPE, ("Authorization", "Bearer no/token")], 401),
        (Client::None, vec![TYPE, TOKEN], 201),
    ] {
        assert_eq!(server.ask(client, "POST", PATH, &headers, OFFER).status, status);
    }
    assert_eq!(server.ask_plain("POST", PATH, &[TYPE, TOKEN], OFFER).status, 400, "never without TLS");
    let gone = server.ask(Client::None, "POST", "/v3.0/agents/a2/attestations", &[TYPE, other], OFFER);
    assert_eq!(code(&gone), (404, "not_found".to_owned()));
}

#[test]
fn reading_answers_200_and_lists_are_lists() {
    let (server, _) = server();
    let read = |path: &str| server.ask(Client::Admin, "GET", path, &[], "");
    let list = read(PATH);
    let ids: Vec<Value> = list.json()["data"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!((list.status, ids), (200, vec![json!("8"), json!("7")]));
    for path in ["/7", "/latest"] {
        let one = read(&format!("{PATH}{path}"));
        assert_eq!((one.status, one.header("location")), (200, None));
        assert_eq!(one.json()["data"]["links"]["self"], format!("{PATH}/7"));
        assert_eq!(one.json()["data"]["attributes"]["evaluation"], "pending");
    }
    for (path, detail) in [
        ("/v3.0/agents/a1/attestations/9", "No attestation 9 exists for agent 'a1'."),
        ("/v3.0/agents/a1/attestations/x", "No attestation x exists for agent 'a1'."),
        ("/v3.0/agents/a1/attestations/99999999999", "No attestation 99999999999 exists for agent 'a1'."),
        ("/v3.0/agents/a9/attestations/latest", "No enrolled agent with ID 'a9'."),
        ("/v3.0/agents/a9/attestations", "No enrolled agent with ID 'a9'."),
    ] {
        let answer = read(path);
        assert_eq!(code(&answer), (404, "not_found".to_owned()), "{path}");
        assert_eq!(answer.json()["errors"][0]["detail"], detail);
    }
}

#[test]
fn a_verifier_that_only_asks_has_no_such_routes() {
    let state = verifier_state(Arc::new(ScriptedVerifier::with_agents(["a1".to_owned()])));
    let server = TestServer::start_guarded(verifier_routes(), state, Arc::new(NamedTokens), Bounds::default());
    for (method, path) in [("POST", PATH.to_owned()), ("GET", format!("{PATH}/latest")), ("PATCH", format!("{PATH}/0"))]
    {
        assert_eq!(ask(&server, method, &path, OFFER).status, 404, "{method} {path}");
    }
}
