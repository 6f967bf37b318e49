//! Paths, methods, ids and sizes of requests, and the shapes of answers.

mod support;

use keylime_actors::verifier::Explanation;
use keylime_gateway::routes::{registrar_routes, verifier_routes};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::backends::{ScriptedRegistrar, ScriptedVerifier, registrar_state, verifier_state};
use support::certificates::Client;
use support::client;
use support::running::{Bounds, TestServer};

fn verifier(backend: ScriptedVerifier, bounds: Bounds) -> TestServer {
    TestServer::start(verifier_routes(), verifier_state(Arc::new(backend)), bounds)
}

fn registrar() -> TestServer {
    let state = registrar_state(Arc::new(ScriptedRegistrar::default()));
    TestServer::start(registrar_routes(), state, Bounds::default())
}

#[test]
fn the_request_id_is_echoed_on_every_answer() {
    let server = verifier(ScriptedVerifier::default(), Bounds::default());
    let long = "ab-c_d$%0123456789012345678901234567890123456789";
    for (client, path, status) in
        [(Client::None, "/version", 200), (Client::None, "/nothing", 404), (Client::None, "/v2.6/agents", 403)]
    {
        let answer = server.ask(client, "GET", path, &[("X-Request-ID", long)], "");
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (status, Some("abc_d0123456789012345678901234567890"))
        );
        assert_eq!(server.ask(client, "GET", path, &[], "").header("x-request-id"), Some(""));
    }
}

#[test]
fn an_agent_that_failed_is_explained() {
    let backend = ScriptedVerifier::with_agents(["a1".to_owned()]);
    let explanation = Explanation {
        event_id: "ima.validation.ima-ng.not_in_allowlist".to_owned(),
        line: Some(3),
        subject: Some("/x".to_owned()),
        ..Explanation::default()
    };
    backend.agents.lock().unwrap().get_mut("a1").unwrap().explanations.push(explanation);
    let server = verifier(backend, Bounds::default());
    let answer = server.ask(Client::Admin, "GET", "/v2.6/agents/a1/explain", &[], "");
    assert_eq!(answer.status, 200);
    let results = &answer.json()["results"];
    assert_eq!((results["agent_id"].as_str(), results["attestation_status"].as_str()), (Some("a1"), Some("PASS")));
    let failure = &results["failures"][0];
    assert_eq!((failure["line"].as_u64(), failure["subject"].as_str()), (Some(3), Some("/x")));
    assert_eq!(server.ask(Client::Admin, "GET", "/v2.6/agents/a2/explain", &[], "").status, 404);
    assert_eq!(server.ask(Client::None, "GET", "/v2.6/agents/a1/explain", &[], "").status, 403);
}

/// Small bodies that unfold to much memory are refused before they are parsed, whatever they are announced as.
#[test]
fn cve_2022_23951_json_of_too_many_values_is_refused() {
    let server = verifier(ScriptedVerifier::default(), Bounds::default());
    let body = format!("{{\"type\":\"tpm\",\"data\":[{}0]}}", "0,".repeat(200_000));
    for headers in [&[("Content-Type", "application/json")][..], &[]] {
        assert_eq!(server.ask(Client::None, "POST", "/v2.5/verify/evidence", headers, &body).status, 400);
    }
}

#[test]
fn framework_answers_are_empty() {
    let server = verifier(ScriptedVerifier::default(), Bounds::default());
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/v2.9/agents/", 404),
        ("GET", "/v1.0/agents/", 404),
        ("GET", "/2.6/agents/", 404),
        ("GET", "/v2.6/agents//", 404),
        ("PUT", "/v2.6/agents/nope/foo", 404),
        ("POST", "/version", 405),
        ("PATCH", "/version", 405),
        ("POST", "/v2.6/agents/", 405),
        ("FOO", "/version", 501),
        ("GET", "//v2.6/agents", 400),
        ("GET", "/v2.6/agents/a{b", 400),
    ] {
        let answer = server.ask(Client::Admin, method, path, &[], "");
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=UTF-8"), "{method} {path}");
        assert_eq!(answer.header("content-length"), Some("0"), "{method} {path}");
    }
    let answer = server.ask(Client::Admin, "HEAD", "/version", &[], "");
    assert_eq!(answer.status, 405);
}

#[test]
fn versions_are_listed_and_the_root_leads_to_the_newest() {
    let server = verifier(ScriptedVerifier::default(), Bounds::default());
    for path in ["/version", "/versions", "/version/"] {
        let answer = server.ask(Client::None, "GET", path, &[], "");
        assert_eq!(
            answer.body,
            "{\"code\": 200, \"status\": \"Success\", \"results\": {\"current_version\": \"2.6\", \
             \"supported_versions\": [\"1.0\", \"2.0\", \"2.1\", \"2.2\", \"2.3\", \"2.4\", \"2.5\", \"2.6\", \"3.0\"]}}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let answer = server.ask(Client::None, "GET", "/", &[], "");
    assert_eq!((answer.status, answer.header("location")), (307, Some("/v3.0/")));
    for path in ["/v2/", "/v2.3"] {
        assert_eq!(server.ask(Client::None, "GET", path, &[], "").status, 405);
    }
    assert_eq!(server.ask(Client::None, "GET", "/v3.0/", &[], "").status, 200);
}

#[test]
fn the_registrars_answers_are_indented() {
    let server = registrar();
    let answer = server.ask_plain("GET", "/version", &[], "");
    assert!(
        answer.body.starts_with("{\n    \"code\": 200,\n    \"status\": \"Success\",\n    \"results\": {\n        ")
    );
    assert_eq!(server.ask_plain("GET", "/", &[], "").status, 404);
    assert_eq!(server.ask_plain("GET", "/v2.6/", &[], "").status, 404);
    assert_eq!(server.ask_plain("GET", "/v3/", &[], "").json()["status"], "Success");
    let answer = server.ask(Client::Admin, "GET", "/v2/agents/inactive", &[], "");
    assert_eq!(answer.json()["status"], "Agent with ID 'inactive' has not been activated");
    let answer = server.ask_plain("PUT", "/v3.0/agents/a/activate", &[], "");
    assert_eq!(answer.status, 405);
}

#[test]
fn the_registrar_reads_members_where_they_are() {
    let backend = Arc::new(ScriptedRegistrar::default());
    let server = TestServer::start(registrar_routes(), registrar_state(Arc::clone(&backend)), Bounds::default());
    let json = [("Content-Type", "application/json")];
    assert_eq!(server.ask_plain("POST", "/v2.6/agents/t4", &json, "{\"agent_id\": \"zz\"}").status, 200);
    assert_eq!(server.ask_plain("POST", "/v3.0/agents", &json, "{\"agent_id\": \"t2\"}").status, 200);
    assert_eq!(server.ask_plain("POST", "/v2.6/agents", &json, "{}").status, 400);
    assert_eq!(server.ask_plain("POST", "/v2.6/agents/t5", &[], "{\"ip\": \"1\"}").status, 200);
    let malformed = server.ask_plain("POST", "/v2.6/agents/t5", &json, "{bad");
    assert_eq!((malformed.status, malformed.reason.as_str()), (400, "Malformed Request Parameter"));
    let seen = backend.registered.lock().unwrap();
    let ids: Vec<_> = seen.iter().map(|request| request.agent_id.as_str()).collect();
    assert_eq!(ids, ["t4", "t2", "t5"]);
    assert!(!seen[2].members.contains_key("ip"), "a body without a type is not read");
}

#[test]
fn cve_2023_38201_a_wrong_tag_learns_nothing() {
    let server = registrar();
    let json = [("Content-Type", "application/json")];
    let answer = server.ask_plain("PUT", "/v2.6/agents/t1", &json, "{\"auth_tag\": \"00\"}");
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json()["status"],
        "Auth tag '00' for agent 't1' does not match expected value. The agent has been deleted from the database and \
         will need to be restarted to reattempt registration"
    );
    for body in ["{}", "{\"auth_tag\": 5}", "{\"auth_tag\": null}"] {
        let answer = server.ask_plain("PUT", "/v2.6/agents/t1", &json, body);
        assert_eq!((answer.status, answer.body.as_str()), (400, ""), "{body}");
    }
}

#[test]
fn the_path_names_the_agent_and_the_query_does_not() {
    let server = verifier(ScriptedVerifier::with_agents(["a1".to_owned()]), Bounds::default());
    let answer = server.ask(Client::Admin, "GET", "/v2.6/agents/nope?agents=a1", &[], "");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (404, Some("agent id not found")));
    assert_eq!(server.ask(Client::Admin, "GET", "/v2.6/agents/a1?agents=nope", &[], "").status, 200);
    let answer = server.ask(Client::Admin, "GET", "/v2.6/agents/a%20b", &[], "");
    assert_eq!(answer.body, "{\"code\": 400, \"status\": \"agent_id not not valid\", \"results\": {}}");
}

#[test]
fn lists_have_keylimes_shapes() {
    let server = verifier(ScriptedVerifier::with_agents(["a1".to_owned(), "a2".to_owned()]), Bounds::default());
    let list = |path: &str| server.ask(Client::Admin, "GET", path, &[], "").json()["results"].clone();
    assert_eq!(list("/v2.5/agents/"), serde_json::json!({"uuids": [["a1"], ["a2"]]}));
    assert_eq!(list("/v2.5/agents?verifier="), serde_json::json!({"uuids": [["a1"], ["a2"]]}));
    assert_eq!(list("/v2.5/agents/?verifier=other"), serde_json::json!({"uuids": []}));
    assert_eq!(list("/v2.5/agents?bulk=True&verifier=other"), serde_json::json!({}));
    let bulk = list("/v2.5/agents?bulk=False");
    assert_eq!(bulk["a2"]["attestation_status"], "PASS");
    assert_eq!(bulk["a2"]["maximum_attestation_interval"], "10s");
}

#[test]
fn a_fleet_is_listed_in_pages() {
    let ids = (0..1000).map(|n| format!("agent-{n:04}"));
    let server = verifier(ScriptedVerifier::with_agents(ids), Bounds::default());
    let answer = server.ask(Client::Admin, "GET", "/v2.5/agents/?bulk=True", &[], "");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.json()["results"].as_object().unwrap().len(), 1000);
    assert!(answer.body.starts_with("{\"code\": 200, \"status\": \"Success\", \"results\": {\"agent-0000\": {"));
}

#[test]
fn a_database_that_is_away_is_said_so() {
    let backend = ScriptedVerifier { away: true, ..ScriptedVerifier::default() };
    let server = verifier(backend, Bounds::default());
    for path in ["/v2.5/agents/", "/v2.5/agents/?bulk=1", "/v2.5/agents/a1"] {
        let answer = server.ask(Client::Admin, "GET", path, &[], "");
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{path}");
        assert_eq!(answer.json()["code"], 503, "{path}");
        assert!(!answer.body.contains("scripted"), "{path}");
    }
}

#[test]
fn too_large_a_body_is_refused_without_a_word() {
    let server = verifier(ScriptedVerifier::default(), Bounds::default());
    let body = "x".repeat((1 << 20) + 1);
    let answer = server.ask(Client::Admin, "POST", "/v2.6/mbpolicies/m", &[], &body);
    assert_eq!((answer.status, answer.body.as_str()), (400, ""));
    assert_eq!(answer.header("connection"), Some("close"));
    // The same without announcing it.
    let mut wire = client::secure(server.https, server.pki.client(Client::Admin)).unwrap();
    let head = "POST /v2.6/mbpolicies/m HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 19, "x".repeat(1 << 19));
    wire.write_all(head.as_bytes()).unwrap();
    for _ in 0..3 {
        let _ = wire.write_all(chunk.as_bytes());
    }
    assert_eq!(client::read_answer(&mut wire).unwrap().status, 400);
}

#[test]
fn an_unfinished_body_is_given_up() {
    let mut bounds = Bounds::default();
    bounds.requests.body_deadline = Duration::from_millis(300);
    let server = verifier(ScriptedVerifier::default(), bounds);
    let mut wire = client::secure(server.https, server.pki.client(Client::Admin)).unwrap();
    let head = "POST /v2.6/mbpolicies/m HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{";
    let answer = client::exchange(&mut wire, head.as_bytes()).unwrap();
    assert_eq!(answer.status, 408);
}

#[test]
fn boot_policies_have_their_life() {
    let backend = Arc::new(ScriptedVerifier::default());
    let server = TestServer::start(verifier_routes(), verifier_state(Arc::clone(&backend)), Bounds::default());
    let ask = |method: &str, path: &str, body: &str| {
        let answer = server.ask(Client::Admin, method, path, &[], body);
        (answer.status, answer.body)
    };
    let reply =
        |code: u16, status: &str| (code, format!("{{\"code\": {code}, \"status\": \"{status}\", \"results\": {{}}}}"));
    let missing = "Measured boot policy m1 not found";
    assert_eq!(ask("GET", "/v2.5/mbpolicies/m1", ""), reply(404, missing));
    let absent = "Measured boot policy with name m1 does not already exist";
    assert_eq!(ask("PUT", "/v2.5/mbpolicies/m1", "{\"mb_policy\": \"{}\"}"), reply(409, absent));
    assert_eq!(ask("POST", "/v2.5/mbpolicies/m1", ""), reply(400, "Expected non zero content length"));
    assert_eq!(ask("POST", "/v2.5/mbpolicies/m1", "{bad").0, 400);
    assert_eq!(ask("POST", "/v2.5/mbpolicies/m1", "{}"), reply(201, "Created"));
    let exists = "Measured boot policy with name m1 already exists";
    assert_eq!(ask("POST", "/v2.5/mbpolicies/m1", "{}"), reply(409, exists));
    let shown = "{\"code\": 200, \"status\": \"Success\", \"results\": {\"name\": \"m1\", \"mb_policy\": null}}";
    assert_eq!(ask("GET", "/v2.5/mbpolicies/m1", "").1, shown);
    backend.policies.users.lock().unwrap().insert("m1".to_owned(), "a1".to_owned());
    assert_eq!(ask("PUT", "/v2.5/mbpolicies/m1", "{\"mb_policy\": \"no json\"}"), reply(201, "Created"));
    assert_eq!(backend.changed.lock().unwrap().len(), 1);
    let in_use = "Can't delete mb_policy as it's currently in use by agent a1";
    assert_eq!(ask("DELETE", "/v2.5/mbpolicies/m1", ""), reply(409, in_use));
    backend.policies.users.lock().unwrap().clear();
    let deleted = server.ask(Client::Admin, "DELETE", "/v2.5/mbpolicies/m1", &[], "");
    assert_eq!((deleted.status, deleted.header("content-type"), deleted.body.as_str()), (204, None, ""));
    let names = "{\"code\": 200, \"status\": \"Success\", \"results\": {\"mbpolicy names\": []}}";
    assert_eq!(ask("GET", "/v2.5/mbpolicies/", "").1, names);
}

#[test]
fn what_is_being_answered_is_answered_before_the_end() {
    let backend =
        ScriptedVerifier { delay: Duration::from_millis(600), ..ScriptedVerifier::with_agents(["a1".into()]) };
    let mut server = verifier(backend, Bounds::default());
    let mut wire = client::secure(server.https, server.pki.client(Client::Admin)).unwrap();
    wire.write_all(&client::request("GET", "/v2.6/agents/a1", &[], "")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // An idle connection does not hold the end up.
    let mut idle = client::secure(server.https, None).unwrap();
    let start = Instant::now();
    server.begin_drain(Duration::from_secs(10));
    assert_eq!(client::read_answer(&mut wire).unwrap().status, 200);
    server.join();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(matches!(idle.read(&mut [0u8; 1]), Ok(0) | Err(_)));
}

#[test]
fn what_was_asked_is_carried_out_although_the_client_resets_its_connection() {
    let delay = Duration::from_millis(600);
    let backend = Arc::new(ScriptedVerifier { delay, ..ScriptedVerifier::with_agents(["a1".into()]) });
    let server = TestServer::start(verifier_routes(), verifier_state(Arc::clone(&backend)), Bounds::default());
    let mut wire = client::secure(server.https, server.pki.client(Client::Admin)).unwrap();
    wire.write_all(&client::request("DELETE", "/v2.6/agents/a1", &[], "")).unwrap();
    wire.flush().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let is_there = || backend.agents.lock().unwrap().contains_key("a1");
    assert!(is_there(), "answered too early to be cut");
    socket2::SockRef::from(&wire.sock).set_linger(Some(Duration::ZERO)).unwrap();
    drop(wire);
    let start = Instant::now();
    while is_there() {
        assert!(start.elapsed() < Duration::from_secs(10), "the deletion was cut short");
        std::thread::sleep(Duration::from_millis(20));
    }
}
