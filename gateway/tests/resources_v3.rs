//! Agents and policies through version 3 and version 2: one record behind both.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::ports::{NewBootPolicy, PolicyChoice};
use keylime_actors::verifier::{AmendError, CommandError};
use keylime_gateway::routes::verifier_routes;
use serde_json::{Value, json};
use std::sync::Arc;
use support::backends::{ScriptedVerifier, verifier_state};
use support::certificates::Client;
use support::client::Answer;
use support::running::{Bounds, TestServer};

const JSON_API: (&str, &str) = ("Content-Type", "application/vnd.api+json");

struct Site {
    server: TestServer,
    verifier: Arc<ScriptedVerifier>,
}

fn site() -> Site {
    let verifier = Arc::new(ScriptedVerifier::with_agents((0..300).map(|number| format!("a{number:03}"))));
    let state = verifier_state(Arc::clone(&verifier));
    Site { server: TestServer::start(verifier_routes(), state, Bounds::default()), verifier }
}

impl Site {
    fn ask(&self, method: &str, path: &str) -> Answer {
        self.server.ask(Client::Admin, method, path, &[], "")
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.server.ask(Client::Admin, method, path, &[JSON_API], &body.to_string())
    }
}

fn resource(kind: &str, id: Option<&str>, attributes: Value) -> Value {
    match id {
        Some(id) => json!({"data": {"type": kind, "id": id, "attributes": attributes}}),
        None => json!({"data": {"type": kind, "attributes": attributes}}),
    }
}

fn policy(release: u64) -> Value {
    json!({
        "meta": {"version": 1, "generator": 0}, "release": release, "digests": {}, "excludes": [], "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {}, "verification-keys": ""
    })
}

fn error_code(answer: &Answer) -> Value {
    answer.json()["errors"][0]["code"].clone()
}

#[test]
fn runtime_policies_are_the_rows_of_version_2() {
    let site = site();
    let made = site.send(
        "POST",
        "/v3.0/policies/ima",
        &resource("ima_policy", Some("p"), json!({"runtime_policy": policy(1)})),
    );
    assert_eq!((made.status, made.header("location")), (201, Some("/v3.0/policies/ima/p")), "{made:?}");
    assert_eq!(made.header("content-type"), Some("application/json; charset=UTF-8"));
    let seen = site.ask("GET", "/v2.6/allowlists/p").json();
    let text = seen["results"]["runtime_policy"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap()["release"], 1);
    // Made on version 2, seen and changed here.
    let body = json!({"runtime_policy": STANDARD.encode(policy(2).to_string())});
    assert_eq!(site.send("POST", "/v2.6/allowlists/q", &body).status, 201);
    let listed = site.ask("GET", "/v3/policies/ima").json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["p", "q"]);
    let sent = json!({"runtime_policy": STANDARD.encode(policy(3).to_string())});
    let changed = site.send("PATCH", "/v3/policies/ima/q", &resource("ima_policy", None, sent));
    assert_eq!(changed.status, 200, "{changed:?}");
    let text = site.ask("GET", "/v2.6/allowlists/q").json()["results"]["runtime_policy"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["release"], 3);
    let shown = site.ask("GET", "/v3/policies/ima/q").json();
    assert_eq!(shown["data"]["attributes"]["runtime_policy"], text);
    assert_eq!(shown["links"]["self"], "/v3/policies/ima/q");
    assert_eq!(site.ask("DELETE", "/v3/policies/ima/q").status, 204);
    assert_eq!(site.ask("GET", "/v2.6/allowlists/q").status, 404);
}

#[test]
fn refusals_of_policies_are_errors_of_version_3() {
    let site = site();
    let good = resource("ima_policy", Some("p"), json!({"runtime_policy": policy(1)}));
    assert_eq!(site.send("POST", "/v3/policies/ima", &good).status, 201);
    let twice = site.send("POST", "/v3/policies/ima", &good);
    assert_eq!((twice.status, error_code(&twice)), (409, "conflict".into()));
    let missing = site.send("PATCH", "/v3/policies/ima/none", &good);
    assert_eq!((missing.status, error_code(&missing)), (404, "not_found".into()));
    for (body, status) in [
        (resource("ima_policy", Some("r"), json!({"tpm_policy": "{}"})), 400),
        (resource("ima_policy", Some("r"), json!({"runtime_policy": "!"})), 400),
        (resource("ima_policy", None, json!({"runtime_policy": policy(1)})), 400),
        (resource("agent", Some("r"), json!({"runtime_policy": policy(1)})), 400),
    ] {
        let answer = site.send("POST", "/v3/policies/ima", &body);
        assert_eq!((answer.status, error_code(&answer)), (status, "invalid_request".into()), "{answer:?}");
    }
    let answer = site.server.ask(Client::Admin, "POST", "/v3/policies/ima", &[], &good.to_string());
    assert_eq!((answer.status, answer.body.as_str()), (415, ""));
    let answer = site.server.ask(Client::Admin, "POST", "/v3/policies/ima", &[JSON_API], "{\"data\": {}}");
    assert_eq!((answer.status, answer.reason.as_str()), (400, "Malformed Request Parameter"));
    site.verifier.policies.users.lock().unwrap().insert("p".to_owned(), "a000".to_owned());
    let used = site.ask("DELETE", "/v3/policies/ima/p");
    assert_eq!((used.status, error_code(&used)), (409, "conflict".into()));
}

#[test]
fn boot_policies_are_the_rows_of_version_2() {
    let site = site();
    let made = site.send(
        "POST",
        "/v3/refstates/uefi/",
        &resource("uefi_refstate", None, json!({"name": "m", "mb_policy": {"has_secureboot": true}})),
    );
    assert_eq!((made.status, made.header("location")), (201, Some("/v3/refstates/uefi/m")), "{made:?}");
    let seen = site.ask("GET", "/v2.6/mbpolicies/m").json();
    assert_eq!(seen["results"]["mb_policy"], "{\"has_secureboot\":true}");
    let changed =
        site.send("PATCH", "/v3/refstates/uefi/m", &resource("uefi_refstate", None, json!({"mb_policy": "{}"})));
    assert_eq!((changed.status, changed.json()["data"]["attributes"]["mb_policy"].clone()), (200, "{}".into()));
    assert_eq!(site.ask("GET", "/v2.6/mbpolicies/m").json()["results"]["mb_policy"], "{}");
    assert_eq!(site.ask("GET", "/v3/refstates/uefi").json()["data"][0]["attributes"]["name"], "m");
    assert_eq!(site.ask("DELETE", "/v3/refstates/uefi/m").status, 204);
    assert_eq!(site.ask("GET", "/v3/refstates/uefi/m").status, 404);
}

#[test]
fn agents_are_listed_whole_and_shown() {
    let site = site();
    let listed = site.ask("GET", "/v3/agents");
    let document = listed.json();
    let agents = document["data"].as_array().unwrap();
    assert_eq!((listed.status, agents.len()), (200, 300));
    assert_eq!(agents[299]["links"]["self"], "/v3/agents/a299");
    assert_eq!(document["jsonapi"]["version"], "1.1");
    let shown = site.ask("GET", "/v3.0/agents/a000").json();
    let of_v2 = site.ask("GET", "/v2.6/agents/a000").json();
    assert_eq!(shown["data"]["attributes"], of_v2["results"]);
    let missing = site.ask("GET", "/v3/agents/none");
    assert_eq!(missing.json()["errors"][0]["detail"], "No enrolled agent with ID 'none'.");
    site.verifier.agents.lock().unwrap().clear();
    assert_eq!(site.ask("GET", "/v3/agents").json()["data"], json!([]));
}

#[test]
fn agents_are_enrolled_stopped_and_deleted() {
    let site = site();
    let key: Value = serde_json::from_str(include_str!("data/v2-agents.json")).unwrap();
    let enrolment = key
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["request"]["method"] == "POST" && item["response"]["status"] == 200);
    let body: Value = serde_json::from_str(enrolment.unwrap()["request"]["body"].as_str().unwrap()).unwrap();
    let attributes: Value = body
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(n, v)| (n.clone(), if n == "tpm_policy" { json!("{\"mask\": \"0x1\"}") } else { v.clone() }))
        .collect();
    let made = site.send("POST", "/v3.0/agents", &resource("agent", Some("new"), attributes.clone()));
    assert_eq!((made.status, made.header("location")), (201, Some("/v3.0/agents/new")), "{made:?}");
    assert_eq!(site.ask("GET", "/v2.6/agents/new").status, 200);
    let twice = site.send("POST", "/v3.0/agents", &resource("agent", Some("new"), attributes.clone()));
    assert_eq!((twice.status, error_code(&twice)), (409, "conflict".into()));
    assert_eq!(site.send("POST", "/v3/agents", &resource("agent", Some("a/b"), attributes)).status, 400);
    assert_eq!(site.send("POST", "/v3/agents", &resource("agent", Some("b"), json!({"v": "x"}))).status, 400);
    assert_eq!(site.ask("PUT", "/v3/agents/new/stop").status, 204);
    assert_eq!(site.ask("PUT", "/v3/agents/new/reactivate").status, 204);
    assert_eq!(site.ask("PUT", "/v3/agents/none/stop").status, 404);
    assert_eq!(site.ask("DELETE", "/v3/agents/new").status, 204);
    assert_eq!(site.ask("DELETE", "/v3/agents/new").status, 404);
    assert_eq!(site.ask("GET", "/v2.6/agents/new").status, 404);
}

/// An attestation key that an agent can be enrolled with.
fn attestation_key() -> String {
    let exchanges: Value = serde_json::from_str(include_str!("data/v2-agents.json")).unwrap();
    let bodies = exchanges.as_array().unwrap().iter().filter_map(|item| item["request"]["body"].as_str());
    let members = bodies.filter_map(|body| serde_json::from_str::<Value>(body).ok());
    members.filter_map(|body| body["ak_tpm"].as_str().map(str::to_owned)).find(|key| key.len() > 100).unwrap()
}

#[test]
fn agents_are_changed_as_they_were_enrolled() {
    let site = site();
    site.verifier.policies.keys.lock().unwrap().insert("a001".to_owned(), attestation_key());
    let patch = |attributes| site.send("PATCH", "/v3/agents/a001", &resource("agent", None, attributes));
    let changed = patch(json!({"tpm_policy": "{\"22\": [\"ab\"]}", "accept_tpm_signing_algs": ["ecdsa"]}));
    assert_eq!(changed.status, 200, "{changed:?}");
    let document = changed.json();
    assert_eq!(document["data"]["attributes"]["tpm_policy"], "{\"22\": [\"ab\"]}");
    assert_eq!((&document["data"]["id"], &document["links"]["self"]), (&"a001".into(), &"/v3/agents/a001".into()));
    assert_eq!(site.ask("GET", "/v2.6/agents/a001").json()["results"]["tpm_policy"], "{\"22\": [\"ab\"]}");
    let last = || site.verifier.amended.lock().unwrap().pop().unwrap();
    let changes = last();
    assert_eq!(changes.accept_tpm_signing_algs.as_deref(), Some(&["ecdsa".to_owned()][..]));
    assert_eq!((changes.meta_data, changes.runtime_policy, changes.boot_policy), (None, None, None));

    // Named or not, brought along or not: by the rules of an enrolment.
    let text = STANDARD.encode(policy(7).to_string());
    assert_eq!(patch(json!({"runtime_policy_name": "p"})).status, 200);
    assert_eq!(last().runtime_policy, Some(PolicyChoice::Stored("p".to_owned())));
    assert_eq!(patch(json!({"runtime_policy_name": "p", "runtime_policy": text})).status, 200);
    assert!(matches!(last().runtime_policy, Some(PolicyChoice::New(policy)) if policy.name == "p"));
    for own in [json!(text), policy(7)] {
        assert_eq!(patch(json!({"runtime_policy": own})).status, 200);
        let Some(PolicyChoice::Own(own)) = last().runtime_policy else { panic!() };
        assert!(own.name == "a001" && own.text.unwrap().contains("\"release\":7"));
    }
    assert_eq!(patch(json!({"mb_policy": "{}"})).status, 200);
    let own = NewBootPolicy { name: "a001".to_owned(), text: Some("{}".into()) };
    assert_eq!(last().boot_policy, Some(PolicyChoice::Own(own)));
    assert_eq!(patch(json!({"mb_policy_name": "m"})).status, 200);
    assert_eq!(last().boot_policy, Some(PolicyChoice::Stored("m".to_owned())));
}

#[test]
fn changes_of_agents_are_refused_before_anything_is_stored() {
    let site = site();
    site.verifier.policies.keys.lock().unwrap().insert("a001".to_owned(), attestation_key());
    let patch = |attributes| site.send("PATCH", "/v3/agents/a001", &resource("agent", None, attributes));
    for fixed in ["ak_tpm", "v", "supported_version", "verifier_ip", "cloudagent_ip", "operational_state"] {
        let refused = patch(json!({"tpm_policy": "{}", fixed: "x"}));
        assert_eq!((refused.status, error_code(&refused)), (422, "invalid_resource_data".into()), "{fixed}");
        let pointer = refused.json()["errors"][0]["source"]["pointer"].clone();
        assert_eq!(pointer, format!("/data/attributes/{fixed}"));
    }
    for wrong in [
        json!({"tpm_policy": "no json"}),
        json!({"tpm_policy": 7}),
        json!({"accept_tpm_hash_algs": "sha256"}),
        json!({"ima_sign_verification_keys": "{"}),
        json!({"revocation_key": "no key"}),
        json!({"runtime_policy": "bm8="}),
        json!({"runtime_policy_name": "a\nb"}),
    ] {
        let refused = patch(wrong.clone());
        assert_eq!((refused.status, error_code(&refused)), (400, "invalid_request".into()), "{wrong}");
    }
    let other = site.send("PATCH", "/v3/agents/a001", &resource("agent", Some("a002"), json!({"metadata": "{}"})));
    assert_eq!((other.status, error_code(&other)), (409, "conflict".into()));
    let absent = site.send("PATCH", "/v3/agents/none", &resource("agent", None, json!({"metadata": "{}"})));
    assert_eq!((absent.status, error_code(&absent)), (404, "not_found".into()));
    assert!(site.verifier.amended.lock().unwrap().is_empty());
    for (refusal, status) in [
        (AmendError::RuntimePolicyExists("p".to_owned()), 409),
        (AmendError::RuntimePolicyMissing("p".to_owned()), 404),
        (AmendError::BootPolicyExists("p".to_owned()), 409),
        (AmendError::BootPolicyMissing("p".to_owned()), 404),
        (AmendError::Invalid("ak_tpm".to_owned()), 400),
        (CommandError::OtherVerifier.into(), 404),
        (CommandError::Busy { retry_after_seconds: 5 }.into(), 503),
    ] {
        *site.verifier.amend_refusal.lock().unwrap() = Some(refusal);
        assert_eq!(patch(json!({"metadata": "{}"})).status, status);
    }
}
