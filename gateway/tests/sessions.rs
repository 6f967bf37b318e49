//! Sessions over HTTPS: every status and body of `verifier-v3-push.md` §3, with the proofs of a TPM in software.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::sessions::{SessionLimits, SessionOptions};
use keylime_bench::soft_tpm::{AttestationPair, EndorsementPair, SoftTpm};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::lifecycle::rate_limit::Rate;
use keylime_engine::tpm::signature::SignatureScheme;
use keylime_gateway::routes::verifier_routes;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::backends::{ScriptedVerifier, verifier_state};
use support::certificates::Client;
use support::client::{self, Answer};
use support::running::{Bounds, TestServer};
use support::sessions::{MemorySessions, sessions};

const AGENT: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c0000a";
const JSON_API: (&str, &str) = ("Content-Type", "application/vnd.api+json");

/// A verifier, and the TPMs of its agents.
struct Site {
    server: TestServer,
    verifier: Arc<ScriptedVerifier>,
    stored: Arc<MemorySessions>,
}

fn site(options: SessionOptions) -> Site {
    let verifier = Arc::new(ScriptedVerifier::with_agents([AGENT.to_owned()]));
    let stored = Arc::new(MemorySessions::default());
    let mut state = verifier_state(Arc::clone(&verifier));
    state.sessions = sessions(options, Arc::clone(&verifier.store), Arc::clone(&stored) as _);
    let tokens = Arc::new(state.sessions.clone());
    Site { server: TestServer::start_guarded(verifier_routes(), state, tokens, Bounds::default()), verifier, stored }
}

fn wide_limits() -> SessionLimits {
    let rate = Rate { limit: 1000, window: Duration::from_secs(60) };
    SessionLimits { per_address: rate, per_agent: rate, budget: rate }
}

fn many_allowed() -> SessionOptions {
    SessionOptions { limits: wide_limits(), ..SessionOptions::default() }
}

fn tpm(key: AttestationPair) -> SoftTpm {
    let endorsement = Arc::new(EndorsementPair::p256_from_seed(&[5; 32]).unwrap());
    SoftTpm::new(endorsement, Arc::new(key), &[HashAlgorithm::Sha256])
}

fn p256() -> SoftTpm {
    tpm(AttestationPair::p256_from_seed(&[6; 32]).unwrap())
}

/// A proof over these bytes, in base64.
fn proof(tpm: &SoftTpm, challenge: &[u8]) -> (String, String) {
    let made = tpm.clone().certify_attestation_key(tpm.attestation(), challenge).unwrap();
    (STANDARD.encode(made.attest), STANDARD.encode(made.signature))
}

fn challenge_of(opened: &Value) -> Vec<u8> {
    let requested = &opened["data"]["attributes"]["authentication_requested"][0];
    STANDARD.decode(requested["chosen_parameters"]["challenge"].as_str().unwrap()).unwrap()
}

impl Site {
    fn enrol(&self, id: &str, tpm: &SoftTpm) {
        let key = STANDARD.encode(tpm.attestation().public());
        self.verifier.policies.keys.lock().unwrap().insert(id.to_owned(), key);
    }

    fn send(&self, method: &str, path: &str, attributes: &Value) -> Answer {
        let body = json!({"data": {"type": "session", "attributes": attributes}}).to_string();
        self.server.ask(Client::None, method, path, &[JSON_API], &body)
    }

    fn open(&self, agent: &str) -> Answer {
        let supported = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop"}]);
        self.send("POST", "/v3.0/sessions", &json!({"agent_id": agent, "authentication_supported": supported}))
    }

    fn prove(&self, session: &Value, agent: &str, (message, signature): (&str, &str)) -> Answer {
        let path = format!("/v3.0/sessions/{}", session["data"]["id"].as_str().unwrap());
        let data = json!({"message": message, "signature": signature});
        let provided = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop", "data": data}]);
        self.send("PATCH", &path, &json!({"agent_id": agent, "authentication_provided": provided}))
    }

    /// A token for an agent with this TPM.
    fn log_in(&self, agent: &str, tpm: &SoftTpm) -> String {
        let opened = self.open(agent).json();
        let (message, signature) = proof(tpm, &challenge_of(&opened));
        let answer = self.prove(&opened, agent, (&message, &signature));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"]["attributes"]["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    fn status_with(&self, token: &str) -> u16 {
        let header = format!("Bearer {token}");
        self.server.ask(Client::None, "GET", &format!("/v3/agents/{AGENT}"), &[("Authorization", &header)], "").status
    }
}

fn detail(answer: &Answer) -> String {
    answer.json()["errors"][0]["detail"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_kind_of_key_opens_a_session() {
    let site = site(many_allowed());
    let rsa = |scheme, hash| tpm(AttestationPair::generate_rsa2048(scheme, hash).unwrap());
    for tpm in [
        rsa(SignatureScheme::Rsassa, HashAlgorithm::Sha256),
        rsa(SignatureScheme::Rsassa, HashAlgorithm::Sha384),
        rsa(SignatureScheme::Rsapss, HashAlgorithm::Sha512),
        p256(),
    ] {
        site.enrol(AGENT, &tpm);
        let token = site.log_in(AGENT, &tpm);
        assert_eq!((token.len(), site.status_with(&token)), (80, 200));
    }
}

#[test]
fn the_documents_have_the_members_that_peers_know() {
    let site = site(many_allowed());
    let tpm = p256();
    site.enrol(AGENT, &tpm);
    let answer = site.open(AGENT);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert!(
        answer.body.starts_with("{\n    \"data\": {\n        \"type\": \"session\",\n        \"id\": \""),
        "{}",
        answer.body
    );
    let opened = answer.json();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        members(&opened["data"]["attributes"]),
        ["agent_id", "authentication_requested", "created_at", "challenges_expire_at"]
    );
    assert_eq!(challenge_of(&opened).len(), 16);
    let (message, signature) = proof(&tpm, &challenge_of(&opened));
    let proven = site.prove(&opened, AGENT, (&message, &signature)).json();
    let attributes = &proven["data"]["attributes"];
    assert_eq!(
        members(attributes),
        [
            "agent_id",
            "evaluation",
            "token",
            "authentication",
            "created_at",
            "challenges_expire_at",
            "response_received_at",
            "token_expires_at"
        ]
    );
    assert_eq!(attributes["authentication"][0]["data"], json!({"message": message, "signature": signature}));
    assert_eq!(attributes["created_at"], opened["data"]["attributes"]["created_at"]);
    // A proven session waits for no proof.
    assert_eq!(site.prove(&opened, AGENT, (&message, &signature)).status, 404);
}

#[test]
fn requests_without_sense_are_refused_as_the_reference_does() {
    let site = site(many_allowed());
    let post =
        |headers: &[(&str, &str)], body: &str| site.server.ask(Client::None, "POST", "/v3/sessions/", headers, body);
    for body in ["{", "[]", "{}", r#"{"data": {"type": "session", "attributes": {}}}"#, r#"{"data": {"x": 1}}"#] {
        let answer = post(&[JSON_API], body);
        assert_eq!(
            (answer.status, answer.reason.as_str(), answer.body.as_str()),
            (400, "Malformed Request Parameter", "")
        );
    }
    let plain = json!({"data": {"attributes": {"agent_id": AGENT}}}).to_string();
    assert_eq!(detail(&post(&[], &plain)), "agent_id is required");
    assert_eq!(detail(&post(&[JSON_API], r#"{"data": {"type": "session"}}"#)), "agent_id is required");
    let no_type = "authentication_supported must include tpm_pop authentication type";
    assert_eq!(detail(&post(&[("Content-Type", "application/json")], &plain)), no_type);
    let other = json!({"agent_id": AGENT, "authentication_supported": [{"authentication_type": "x"}]});
    let answer = site.send("POST", "/v3.0/sessions", &other);
    assert_eq!((answer.status, detail(&answer).as_str()), (400, no_type));
    assert_eq!(
        answer.body,
        format!(
            "{{\n    \"errors\": [\n        {{\n            \"status\": \"400\",\n            \"title\": \"Bad Request\",\n            \
             \"detail\": \"{no_type}\"\n        }}\n    ]\n}}"
        )
    );
    assert_eq!(site.open("a/b").status, 400);
    assert_eq!(site.server.ask_plain("POST", "/v3/sessions", &[JSON_API], "{}").status, 400);
    for (method, path) in
        [("POST", "/v3/agents/a/session"), ("GET", "/v3/agents/a/session/t"), ("PATCH", "/v3/agents/a/session/t")]
    {
        let answer = site.server.ask(Client::None, method, path, &[], "");
        assert_eq!((answer.status, answer.json()["errors"][0]["code"].clone()), (404, "not_found".into()));
    }
}

#[test]
fn proofs_that_prove_nothing_end_the_session() {
    let site = site(many_allowed());
    let tpm = p256();
    site.enrol(AGENT, &tpm);
    let opened = site.open(AGENT).json();
    // These leave it as it is.
    let patch = |attributes: &Value| {
        site.send("PATCH", &format!("/v3/sessions/{}", opened["data"]["id"].as_str().unwrap()), attributes)
    };
    assert_eq!(detail(&patch(&json!({"x": 1}))), "agent_id is required");
    assert_eq!(detail(&site.prove(&opened, "other", ("", ""))), "Agent ID mismatch");
    assert_eq!(site.prove(&opened, AGENT, ("QQ", "QQ")).status, 400);
    assert_eq!(site.prove(&json!({"data": {"id": "nope"}}), AGENT, ("", "")).status, 404);
    // This is a proof of another challenge.
    let (message, signature) = proof(&tpm, &[0; 16]);
    let answer = site.prove(&opened, AGENT, (&message, &signature));
    let attributes = &answer.json()["data"]["attributes"];
    assert_eq!((answer.status, &attributes["evaluation"]), (401, &"fail".into()));
    assert!(attributes.get("token").is_none() && attributes.get("token_expires_at").is_none());
    let (message, signature) = proof(&tpm, &challenge_of(&opened));
    assert_eq!(site.prove(&opened, AGENT, (&message, &signature)).status, 404);
    // Nothing, and garbage.
    let opened = site.open(AGENT).json();
    let answer = patch_of(&site, &opened);
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.json()["data"]["attributes"]["authentication"][0]["data"]["message"], "");
    let opened = site.open(AGENT).json();
    assert_eq!(site.prove(&opened, AGENT, ("!!!", "???")).status, 401);
}

fn patch_of(site: &Site, opened: &Value) -> Answer {
    let path = format!("/v3/sessions/{}", opened["data"]["id"].as_str().unwrap());
    site.send("PATCH", &path, &json!({"agent_id": AGENT}))
}

#[test]
fn who_is_not_enrolled_or_late_gets_no_token() {
    let site = site(many_allowed());
    let tpm = p256();
    let opened = site.open("never-enrolled").json();
    let (message, signature) = proof(&tpm, &challenge_of(&opened));
    let answer = site.prove(&opened, "never-enrolled", (&message, &signature));
    let attributes = &answer.json()["data"]["attributes"];
    assert_eq!((answer.status, &attributes["evaluation"]), (200, &"fail".into()));
    assert!(attributes.get("token_expires_at").is_none());
    let hasty = SessionOptions { challenge_lifetime: Duration::ZERO, ..many_allowed() };
    let site = self::site(hasty);
    site.enrol(AGENT, &tpm);
    let opened = site.open(AGENT).json();
    std::thread::sleep(Duration::from_millis(20));
    let (message, signature) = proof(&tpm, &challenge_of(&opened));
    let answer = site.prove(&opened, AGENT, (&message, &signature));
    let attributes = &answer.json()["data"]["attributes"];
    assert_eq!((answer.status, &attributes["evaluation"]), (200, &"fail".into()));
    assert!(attributes["token_expires_at"].is_null() && attributes.get("token_expires_at").is_some());
}

#[test]
fn an_agent_has_one_token_and_it_ends() {
    let brief = SessionOptions { session_lifetime: Duration::from_secs(4), ..many_allowed() };
    let site = site(brief);
    let tpm = p256();
    site.enrol(AGENT, &tpm);
    let first = site.log_in(AGENT, &tpm);
    assert_eq!(site.status_with(&first), 200);
    let second = site.log_in(AGENT, &tpm);
    assert_eq!((site.status_with(&first), site.status_with(&second)), (401, 200));
    std::thread::sleep(Duration::from_millis(4100));
    let header = format!("Bearer {second}");
    let answer = site.server.ask(Client::None, "GET", "/version", &[("Authorization", &header)], "");
    assert_eq!((answer.status, detail(&answer).as_str()), (401, "Authentication token expired"));
    // An agent whose token is over must get another one, whatever it sends along.
    let supported = json!([{"authentication_type": "tpm_pop"}]);
    let body =
        json!({"data": {"type": "session", "attributes": {"agent_id": AGENT, "authentication_supported": supported}}});
    let headers = [JSON_API, ("Authorization", header.as_str())];
    assert_eq!(site.server.ask(Client::None, "POST", "/v3/sessions", &headers, &body.to_string()).status, 200);
}

#[test]
fn the_limit_of_an_agent_answers_as_the_reference_does() {
    let limits = SessionLimits { per_address: wide_limits().per_address, ..SessionLimits::default() };
    let site = site(SessionOptions { limits, ..SessionOptions::default() });
    for _ in 0..15 {
        assert_eq!(site.open("ratelimited").status, 200);
    }
    let answer = site.open("ratelimited");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")), "{answer:?}");
    assert_eq!(detail(&answer), "Rate limit exceeded for this agent. Please try again later.");
    std::thread::sleep(Duration::from_millis(5));
    let rest: u64 = site.open("ratelimited").header("retry-after").unwrap().parse().unwrap();
    assert!((50..60).contains(&rest), "{rest}");
    assert_eq!(site.open("another").status, 200);
}

#[test]
fn a_fleet_behind_one_address_starts_and_strangers_do_not() {
    let site = site(SessionOptions::default());
    let tpm = p256();
    for number in 0..120 {
        site.enrol(&format!("agent-{number}"), &tpm);
    }
    for _ in 0..50 {
        assert_eq!(site.open(&format!("stranger-{}", rand_suffix())).status, 200);
    }
    let answer = site.open("one-more-stranger");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")), "{answer:?}");
    assert_eq!(detail(&answer), "Rate limit exceeded. Please try again later.");
    for number in 0..120 {
        let agent = format!("agent-{number}");
        let opened = site.open(&agent);
        assert_eq!(opened.status, 200, "{agent}");
        let (message, signature) = proof(&tpm, &challenge_of(&opened.json()));
        assert_eq!(site.prove(&opened.json(), &agent, (&message, &signature)).status, 200);
    }
}

/// A number that no other stranger has.
fn rand_suffix() -> u64 {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn a_budget_of_zero_leaves_the_limits_of_the_reference() {
    let limits =
        SessionLimits { budget: Rate { limit: 0, window: Duration::from_secs(60) }, ..SessionLimits::default() };
    let site = site(SessionOptions { limits, ..SessionOptions::default() });
    let tpm = p256();
    for number in 0..51 {
        let agent = format!("agent-{number}");
        site.enrol(&agent, &tpm);
        assert_eq!(site.open(&agent).status, if number < 50 { 200 } else { 429 });
    }
}

#[test]
fn a_proven_machine_gives_its_place_back() {
    let limits = SessionLimits {
        per_address: Rate { limit: 1, window: Duration::from_secs(60) },
        budget: Rate { limit: 0, window: Duration::from_secs(60) },
        ..wide_limits()
    };
    let site = site(SessionOptions { limits, ..SessionOptions::default() });
    let tpm = p256();
    site.enrol(AGENT, &tpm);
    for _ in 0..5 {
        site.log_in(AGENT, &tpm);
    }
    assert_eq!((site.open("stranger").status, site.open("stranger").status), (200, 429));
}

#[test]
fn a_database_that_is_away_takes_no_session_away() {
    let site = site(many_allowed());
    let tpm = p256();
    site.enrol(AGENT, &tpm);
    let opened = site.open(AGENT).json();
    let (message, signature) = proof(&tpm, &challenge_of(&opened));
    for away in [&site.verifier.policies.away, &site.stored.away] {
        away.store(true, Ordering::SeqCst);
        let answer = site.prove(&opened, AGENT, (&message, &signature));
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        away.store(false, Ordering::SeqCst);
    }
    assert_eq!(site.prove(&opened, AGENT, (&message, &signature)).status, 200);
}

#[test]
fn whoever_sends_a_request_slowly_is_cut_off() {
    let mut bounds = Bounds::default();
    bounds.requests.body_deadline = Duration::from_millis(300);
    let server = TestServer::start(verifier_routes(), verifier_state(Arc::new(ScriptedVerifier::default())), bounds);
    let mut wire = client::secure(server.https, None).unwrap();
    let head = "POST /v3/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/vnd.api+json\r\nContent-Length: 90\r\n\r\n{";
    wire.write_all(head.as_bytes()).unwrap();
    wire.flush().unwrap();
    let start = Instant::now();
    assert_eq!(client::read_answer(&mut wire).unwrap().status, 408);
    assert!(start.elapsed() < Duration::from_secs(5));
}
