//! What Keylime 7.14.3's verifier answered, asked of ours: the real verifier system over an empty database, with agents that
//! nobody can reach.

mod support;

use async_trait::async_trait;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{
    AgentCall, AgentRecord, AgentReply, EvidenceTransport, OutboxRow, RevocationComposer, Unreachable,
};
use keylime_actors::sessions::SessionOptions;
use keylime_actors::verifier::{self, AgentTls, AppraisalJob, Appraiser, Shards, VerifierOptions, VerifierPorts};
use keylime_engine::appraise::{EvidenceVerdict, PresentedTerms, appraise_request};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::{Notice, Verdict};
use keylime_engine::time::Now;
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use keylime_gateway::routes::{VerifierState, verifier_routes};
use keylime_schema::database::{Database, Service};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::backends::settings;
use support::certificates::Client;
use support::client::Answer;
use support::running::{Bounds, TestServer};
use support::sessions::{self, MemorySessions};

struct Nobody;

#[async_trait]
impl EvidenceTransport for Nobody {
    async fn send(&self, _: AgentCall) -> AgentReply {
        AgentReply::Unreachable(Unreachable::Timeout)
    }
    fn forget(&self, _: &AgentId) {}
}

impl Appraiser for Nobody {
    fn appraise(&self, _: &AppraisalJob) -> Verdict {
        Verdict::Unreadable("nobody answers".to_owned())
    }
}

impl RevocationComposer for Nobody {
    fn compose(&self, _: &AgentRecord, _: &Notice, _: &str, _: Now) -> Result<OutboxRow, String> {
        Err("nobody listens".to_owned())
    }
    fn committed(&self) {}
}

#[derive(Clone, Copy, PartialEq)]
enum Signatures {
    Required,
    NotRequired,
}

fn start(signatures: Signatures, signing_keys: &Path) -> TestServer {
    let signing_keys = PathBuf::from(signing_keys);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::in_memory(Service::Verifier)).unwrap();
    // The connections live on this runtime as long as the process does.
    std::mem::forget(runtime);
    let make_state = move || {
        let nobody = Arc::new(Nobody);
        let store = Arc::new(SqlVerifierStore::new(database));
        let ports = VerifierPorts::new(store, nobody.clone(), nobody.clone(), nobody);
        let options = VerifierOptions {
            retry_interval: 600.0,
            max_retries: 1000,
            shards: Shards::Threads(1),
            cpu_threads: 0,
            ..VerifierOptions::default()
        };
        let handle = verifier::start(options, AgentTls::Enabled, ports).unwrap();
        let mut settings = settings();
        settings.signing_keys = signing_keys;
        settings.policy_signatures_required = signatures == Signatures::Required;
        let sessions = Arc::new(MemorySessions::default());
        let sessions = sessions::sessions(SessionOptions::default(), Arc::clone(handle.store()), sessions);
        VerifierState { backend: Arc::new(handle), sessions, settings }
    };
    TestServer::start_with(verifier_routes(), make_state, Bounds::default())
}

/// How an answer is compared.
enum Expected {
    /// Byte for byte: status, reason, content type, body.
    Same,
    /// Status and envelope code only: the text is Python's, or the body holds times and states.
    Status,
    /// We answer otherwise, on purpose.
    Deviation(u16, &'static str),
}

fn expected(file: &str, item: &Value) -> Expected {
    use Expected::{Deviation, Same, Status};
    let note = item["note"].as_str().unwrap_or_default();
    let (request, response) = (&item["request"], &item["response"]);
    let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
    let body = response["body"].as_str().unwrap();
    let status = response["status"].as_u64().unwrap();
    match (file, note) {
        ("v2-allowlists", "bad regex in excludes accepted") => {
            return Deviation(400, "patterns are compiled when sent");
        }
        ("v2-allowlists" | "v2-mbpolicies", "in use by two" | "two users") => {
            return Deviation(409, "in use is in use");
        }
        ("v2-allowlists", "array") => return Deviation(400, "the client's mistake"),
        ("v2-allowlists", "singular exclude, checked per character/element") => {
            return Deviation(201, "the member is named excludes; others are ignored");
        }
        ("v2-signed-policies", "RSA key" | "no payloadType") => return Deviation(401, "no valid signature"),
        ("v2-agents", "query overrides the path id (hole)") => return Status,
        ("v2-agents", "tpm_policy without mask: accepted") => return Deviation(400, "nothing could be asked for"),
        ("v2-agents", "blocked by the foreign key" | "active agent, blocked by the foreign key") => {
            return Deviation(200, "a policy that others use is kept");
        }
        ("v2-agents", "unusable mtls_cert") => return Deviation(400, "and nothing is stored"),
        ("v2-verify-evidence", "v3") => return Deviation(404, "there is no such route"),
        ("v2-verify-evidence", _) if request["body"].as_str().unwrap().contains("\"type\": \"tee\"") => {
            return Deviation(501, "evidence of TEEs is not judged");
        }
        ("v2-verify-evidence", _) if body.contains("Quote validation failed") => return Status,
        ("v2-verify-evidence", "mb policy without log" | "mb policy not JSON") => return Status,
        ("v2-version", _) if path == "/v2/" => return Deviation(405, "the documentation promises an answer"),
        ("v2-version", _) if path == "/v3.0/" => return Deviation(200, "the documentation promises an answer"),
        _ => {}
    }
    if path == "/v2.5/allowlists/?x=y" {
        return Deviation(200, "a query does not turn the list into a policy without a name");
    }
    if status == 500 {
        return Deviation(400, "the client's mistake");
    }
    let shows_agents = method == "GET" && path.contains("/agents") && status == 200;
    let python_text = body.contains("Exception error: Expecting") || body.contains("has no attribute");
    if shows_agents || python_text { Status } else { Same }
}

/// What to do with an item of a recording.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Ask,
    Skip,
    /// Agents were deleted here off the record.
    DeleteFirst(&'static [&'static str]),
}

fn replay(file: &str, vector: &str, server: &TestServer, step: impl Fn(usize) -> Step) {
    let items: Vec<Value> = serde_json::from_str(vector).unwrap();
    let mut failures = Vec::new();
    for (number, item) in items.iter().enumerate() {
        match step(number) {
            Step::Ask => {}
            Step::Skip => continue,
            Step::DeleteFirst(agents) => {
                for agent in agents {
                    server.ask(Client::Admin, "DELETE", &format!("/v2.5/agents/{agent}"), &[], "");
                }
            }
        }
        let request = &item["request"];
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_object()
            .map(|all| all.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect())
            .unwrap_or_default();
        let client = if request["client_certificate"] == true { Client::Admin } else { Client::None };
        let text = |member: &str| request[member].as_str().unwrap();
        let answer = server.ask(client, text("method"), text("path"), &headers, text("body"));
        if let Some(difference) = difference(&expected(file, item), &item["response"], &answer) {
            let (note, body) = (&item["note"], &item["response"]["body"]);
            let line = format!("{} {}", text("method"), text("path"));
            failures.push(format!("{file} {number} {note} {line}: {difference}\n  expected {body}\n  {answer:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn difference(expected: &Expected, response: &Value, answer: &Answer) -> Option<String> {
    let differs = |what: &str, same: bool| if same { None } else { Some(format!("{what} differs")) };
    match expected {
        Expected::Deviation(status, why) => differs(&format!("status {status} ({why})"), answer.status == *status),
        Expected::Status => differs("status", response["status"] == answer.status)
            .or_else(|| differs("code", answer.json()["code"] == response["status"])),
        Expected::Same => differs("status", response["status"] == answer.status)
            .or_else(|| differs("reason", response["reason"].as_str() == Some(&answer.reason)))
            .or_else(|| differs("type", response["headers"]["Content-Type"].as_str() == answer.header("content-type")))
            .or_else(|| differs("id", response["headers"]["X-Request-Id"].as_str() == answer.header("x-request-id")))
            .or_else(|| differs("place", response["headers"]["Location"].as_str() == answer.header("location")))
            .or_else(|| differs("body", response["body"].as_str() == Some(&answer.body)))
            .or_else(|| {
                // Answers in pieces have no tag.
                let tag = answer.header("etag");
                differs("tag", tag.is_none() || response["headers"]["Etag"].as_str() == tag)
            }),
    }
}

#[test]
fn versions() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    // One item was recorded in push mode.
    let step = |number| if number == 2 { Step::Skip } else { Step::Ask };
    replay("v2-version", include_str!("data/v2-version.json"), &server, step);
}

#[test]
fn authorization_errors() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    // The last two were recorded in push mode.
    let step = |number| if number >= 8 { Step::Skip } else { Step::Ask };
    replay("v2-auth-errors", include_str!("data/v2-auth-errors.json"), &server, step);
}

#[test]
fn runtime_policies() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    replay("v2-allowlists", include_str!("data/v2-allowlists.json"), &server, |_| Step::Ask);
}

#[test]
fn signed_runtime_policies() {
    let keys = tempfile::tempdir().unwrap();
    let directory = keys.path().join("signing_keys");
    let server = start(Signatures::Required, &directory);
    // The last item was recorded in push mode, where agents have no address.
    let step = |number| if number == 10 { Step::Skip } else { Step::Ask };
    replay("v2-signed-policies", include_str!("data/v2-signed-policies.json"), &server, step);
    let kept: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(kept.len(), 1, "only the key that has signed an accepted policy is kept: {kept:?}");
}

#[test]
fn boot_policies() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    const BOTH: &[&str] = &["d432fbb3-d2f1-4a97-9ef7-75bd81c00001", "agent.two_2-x"];
    let step = |number| if number == 18 { Step::DeleteFirst(BOTH) } else { Step::Ask };
    replay("v2-mbpolicies", include_str!("data/v2-mbpolicies.json"), &server, step);
}

#[test]
fn agents() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    // Left out: the orphaned policy of a refused enrolment and its deletion; the agent that was refused for its mask; what
    // follows on deletions that the reference could not finish, and on the agent it stored in spite of a useless certificate.
    let step = |number| match number {
        23 | 24 | 26 | 27 | 61..=63 | 65..=70 => Step::Skip,
        57 => Step::DeleteFirst(&["fk-b"]),
        _ => Step::Ask,
    };
    replay("v2-agents", include_str!("data/v2-agents.json"), &server, step);
}

#[test]
fn a_refused_enrolment_leaves_no_trace() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    let items: Vec<Value> = serde_json::from_str(include_str!("data/v2-agents.json")).unwrap();
    for number in [22, 25, 64] {
        let request = &items[number]["request"];
        let (path, body) = (request["path"].as_str().unwrap(), request["body"].as_str().unwrap());
        let answer = server.ask(Client::Admin, "POST", path, &[], body);
        assert!((400..500).contains(&answer.status), "{number}: {answer:?}");
    }
    for list in ["agents/", "allowlists/", "mbpolicies/"] {
        let answer = server.ask(Client::Admin, "GET", &format!("/v2.5/{list}"), &[], "");
        let results = answer.json()["results"].as_object().unwrap().values().next().unwrap().clone();
        assert_eq!(results, serde_json::json!([]), "{list}");
    }
}

/// Enrols the agent of the recordings, with another attestation key if one is given.
fn enrol(server: &TestServer, attestation_key: Option<&str>) {
    let items: Vec<Value> = serde_json::from_str(include_str!("data/v2-agents.json")).unwrap();
    let request = &items[28]["request"];
    let mut body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    if let Some(key) = attestation_key {
        body["ak_tpm"] = Value::from(key);
    }
    let answer = server.ask(Client::Admin, "POST", request["path"].as_str().unwrap(), &[], &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn identities() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    enrol(&server, None);
    replay("v2-verify-identity", include_str!("data/v2-verify-identity.json"), &server, |_| Step::Ask);
}

#[test]
fn presented_evidence() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    replay("v2-verify-evidence", include_str!("data/v2-verify-evidence.json"), &server, |_| Step::Ask);
}

/// A recorded request whose evidence is valid.
fn valid_evidence() -> Value {
    let items: Vec<Value> = serde_json::from_str(include_str!("data/v2-verify-evidence.json")).unwrap();
    let item = items.iter().find(|item| item["note"] == "valid").unwrap();
    serde_json::from_str(item["request"]["body"].as_str().unwrap()).unwrap()
}

#[test]
fn version_2_4_says_valid_as_a_number() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    let mut request = valid_evidence();
    let ask = |path: &str, request: &Value| {
        let answer =
            server.ask(Client::None, "POST", path, &[("Content-Type", "application/json")], &request.to_string());
        (answer.status, answer.json()["results"].clone())
    };
    let (status, results) = ask("/v2.4/verify/evidence", &request);
    assert_eq!((status, &results["valid"]), (200, &serde_json::json!(1)));
    assert_eq!(results["claims"], request["data"]);
    for path in ["/v2/verify/evidence", "/v2.6/verify/evidence"] {
        assert_eq!(ask(path, &request).1["valid"], true, "{path}");
    }
    request["data"]["nonce"] = serde_json::json!("other");
    assert_eq!(ask("/v2.4/verify/evidence", &request).1["valid"], serde_json::json!(0));
    assert_eq!(ask("/v2.5/verify/evidence", &request).1["valid"], false);
}

#[test]
fn unnumbered_wrong_signature_no_changed_byte_of_evidence_is_valid() {
    let request = valid_evidence();
    let terms = PresentedTerms::default();
    let verdict = |quote: &QuoteParts, nonce: &str| {
        let mut edited = request.clone();
        edited["data"]["quote"] = quote.encode().into();
        edited["data"]["nonce"] = nonce.into();
        appraise_request(&edited, &terms)
    };
    let text = request["data"]["quote"].as_str().unwrap();
    let (parts, nonce) = (QuoteParts::decode(text, QuoteEncoding::Plain).unwrap(), "N1");
    assert_eq!(verdict(&parts, nonce), EvidenceVerdict::Valid);
    for bit in [0x01, 0x80] {
        for place in 0..parts.attest.len() {
            let mut edited = parts.clone();
            edited.attest[place] ^= bit;
            assert_ne!(verdict(&edited, nonce), EvidenceVerdict::Valid, "attest byte {place}");
        }
        for place in 0..parts.signature.len() {
            let mut edited = parts.clone();
            edited.signature[place] ^= bit;
            assert_ne!(verdict(&edited, nonce), EvidenceVerdict::Valid, "signature byte {place}");
        }
    }
    for nonce in ["", "N", "N2", "n1", "N1 ", "TjE", "N1\0"] {
        assert_ne!(verdict(&parts, nonce), EvidenceVerdict::Valid, "nonce {nonce:?}");
    }
}

#[test]
fn unnumbered_wrong_signature_is_never_valid_evidence() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    let vector: Value = serde_json::from_str(include_str!("data/quote_bad_signature.json")).unwrap();
    let mut request = valid_evidence();
    let members = request["data"].as_object_mut().unwrap();
    members.retain(|name, _| matches!(name.as_str(), "quote" | "nonce" | "hash_alg" | "tpm_ek" | "tpm_ak"));
    // Demands no PCR, so that nothing but the signature speaks against it.
    members.insert("tpm_policy".to_owned(), "{}".into());
    members["tpm_ak"] = vector["agent_ak"].clone();
    let foreign = request.to_string();
    let answer = server.ask(Client::None, "POST", "/v2.5/verify/evidence", &[], &foreign);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["results"]["valid"], false);
    assert_eq!(answer.json()["results"]["failures"][0]["type"], "qoute_validation.quote_validation");
}

#[test]
fn cve_2023_3674_a_wrong_signature_identifies_nobody() {
    let keys = tempfile::tempdir().unwrap();
    let server = start(Signatures::NotRequired, keys.path());
    let vector: Value = serde_json::from_str(include_str!("data/quote_bad_signature.json")).unwrap();
    let text = |member: &str| vector[member].as_str().unwrap();
    enrol(&server, Some(text("agent_ak")));
    let valid = |quote: &str| {
        let encoded: String = url::form_urlencoded::byte_serialize(quote.as_bytes()).collect();
        let agent = "d432fbb3-d2f1-4a97-9ef7-75bd81c00001";
        let query = format!("agent_uuid={agent}&nonce={}&hash_alg=sha256&quote={encoded}", text("nonce"));
        let answer = server.ask(Client::None, "GET", &format!("/v2.6/verify/identity?{query}"), &[], "");
        answer.json()["results"]["valid"].clone()
    };
    assert_eq!(valid(text("quote_good")), 1);
    assert_eq!(valid(text("quote_bad_signature")), 0);
}
