//! What Keylime 7.14.3's registrar answered, asked of ours.

mod support;

use futures_util::FutureExt as _;
use keylime_actors::ports::RegistrarStore as _;
use keylime_actors::registrar::memory_store::MemoryRegistrarStore;
use keylime_actors::registrar::{self, RegistrarOptions};
use keylime_gateway::routes::{RegistrarState, registrar_routes};
use serde_json::{Map, Value};
use std::sync::Arc;
use support::certificates::Client;
use support::client::Answer;
use support::running::{Bounds, TestServer};

const ACTIVE: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";

/// Where we answer otherwise, and why.
fn deviation(request: &Value, note: &str) -> Option<(u16, &'static str)> {
    let path = request["path"].as_str().unwrap();
    let authorization = request["headers"]["Authorization"].as_str().unwrap_or_default();
    let short_key = |key: &str| request["body_is_base_with"]["set"][key].as_str().is_some_and(|text| text.len() <= 4);
    match (path, note) {
        ("/v3/" | "/v3.0/", _) => Some((200, "the documentation promises an answer")),
        ("/v3.0/agents", "v3 register") => Some((200, "the documentation promises an answer")),
        ("/v2.6/agents/a{b" | "//v2.6/agents", _) => Some((400, "a malformed path is the client's mistake")),
        ("/v2.6/agents/a%20b", "percent") => Some((400, "no agent id (CVE-2022-23949)")),
        ("/v2.6/agents/a%20b", _) => Some((404, "was not registered")),
        (long, "90 char id") if long.len() > 100 => Some((400, "longer than the column")),
        (long, _) if long.len() > 100 => Some((404, "was not registered")),
        (_, "int tag" | "iak attest undecodable") => Some((400, "the client's mistake")),
        _ if authorization.ends_with(".abc") => Some((401, "a token of no session")),
        _ if short_key("aik_tpm") || short_key("ek_tpm") => Some((400, "the client's mistake")),
        _ => None,
    }
}

fn body(request: &Value, base: &Map<String, Value>) -> String {
    if let Some(text) = request["body"].as_str() {
        return text.to_owned();
    }
    let Some(change) = request["body_is_base_with"].as_object() else { return String::new() };
    let mut body = base.clone();
    body.extend(change["set"].as_object().unwrap().clone());
    for name in change["removed"].as_array().unwrap() {
        body.remove(name.as_str().unwrap());
    }
    Value::Object(body).to_string()
}

fn ask(server: &TestServer, request: &Value, body: &str) -> Answer {
    let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
    let headers: Vec<(&str, &str)> = request["headers"]
        .as_object()
        .map(|headers| headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect())
        .unwrap_or_default();
    match request["scheme"].as_str().unwrap() {
        "http" => server.ask_plain(method, path, &headers, body),
        "https, no client cert" => server.ask(Client::None, method, path, &headers, body),
        "https+client cert" => server.ask(Client::Admin, method, path, &headers, body),
        other => panic!("unknown scheme {other}"),
    }
}

#[test]
fn the_registrar_answers_as_keylimes() {
    let vector: Value = serde_json::from_str(include_str!("data/registrar.json")).unwrap();
    let base = vector["base_register_body"].as_object().unwrap().clone();
    let store = Arc::new(MemoryRegistrarStore::default());
    let system_store = Arc::clone(&store);
    let make_state = move || {
        let options = RegistrarOptions { shards: 0, cpu_threads: 0, ..RegistrarOptions::default() };
        RegistrarState { backend: Arc::new(registrar::start(options, system_store).unwrap()) }
    };
    let server = TestServer::start_with(registrar_routes(), make_state, Bounds::default());

    // The recording begins with one active registration.
    let registered = server.ask_plain(
        "POST",
        &format!("/v2.6/agents/{ACTIVE}"),
        &[("Content-Type", "application/json")],
        &Value::Object(base.clone()).to_string(),
    );
    assert_eq!(registered.status, 200, "{registered:?}");
    let mut row = store.registration(ACTIVE).now_or_never().unwrap().unwrap().unwrap();
    row.active = true;
    store.put(row);

    let mut failures = Vec::new();
    for (number, case) in vector["cases"].as_array().unwrap().iter().enumerate() {
        let (request, note) = (&case["request"], case["note"].as_str().unwrap());
        let answer = ask(&server, request, &body(request, &base));
        if let Some((status, why)) = deviation(request, note) {
            if answer.status != status {
                failures.push(format!("{number} {note}: {} instead of {status} ({why})\n  {answer:?}", answer.status));
            }
            continue;
        }
        if let Some(difference) = difference(case, &answer) {
            failures.push(format!("{number} {note}: {difference}\n  {request}\n  {answer:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn difference(case: &Value, answer: &Answer) -> Option<String> {
    if case["status"] != answer.status {
        return Some(format!("status is not {}", case["status"]));
    }
    if case["reason"].as_str() != Some(&answer.reason) {
        return Some(format!("reason is not {}", case["reason"]));
    }
    for (name, value) in case["headers"].as_object().unwrap() {
        if answer.header(name) != value.as_str() {
            return Some(format!("header {name} is not {value}"));
        }
    }
    let Some(expected) = case.get("json") else {
        return (case["body"].as_str() != Some(&answer.body)).then(|| "body differs".to_owned());
    };
    let mut got = answer.json();
    if let Some(blob) = got.get_mut("results").and_then(|results| results.get_mut("blob")) {
        *blob = Value::from("<base64 MakeCredential blob>");
    }
    (got != *expected).then(|| format!("body is not {expected}"))
}
