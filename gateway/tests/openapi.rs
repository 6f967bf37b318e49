//! The served description lists every served route.

mod support;

use keylime_gateway::routes::{attestation_routes, described, openapi_path, registrar_routes, verifier_routes};
use keylime_gateway::routing::Route;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use support::backends::{ScriptedRegistrar, ScriptedVerifier, registrar_state, verifier_state};
use support::certificates::Client;
use support::running::{Bounds, TestServer};

fn check<S: Send + Sync + 'static>(server: &TestServer, routes: &[Route<S>]) {
    let answer = server.ask(Client::None, "GET", "/openapi.json", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    for route in routes {
        let path = openapi_path(route.pattern());
        let operation = &document["paths"][path.as_str()][route.method().as_str().to_ascii_lowercase()];
        assert!(operation.is_object(), "{} {path}", route.method());
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        for parameter in operation["parameters"].as_array().unwrap() {
            assert!(path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())));
        }
    }
    let listed: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(listed, routes.len());
    let of_admins = &document["paths"]["/v2/agents"]["get"]["security"];
    assert_eq!(of_admins, &serde_json::json!([{"administrator": []}]));
    assert_eq!(document["paths"]["/openapi.json"]["get"]["security"], Value::Array(Vec::new()));
}

#[test]
fn the_description_of_the_verifier_is_whole() {
    let routes = || {
        let mut routes = verifier_routes();
        routes.extend(attestation_routes());
        described("Keylime verifier", routes)
    };
    let state = verifier_state(Arc::new(ScriptedVerifier::default()));
    check(&TestServer::start(routes(), state, Bounds::default()), &routes());
}

#[test]
fn the_description_of_the_registrar_is_whole() {
    let routes = || described("Keylime registrar", registrar_routes());
    let state = registrar_state(Arc::new(ScriptedRegistrar::default()));
    check(&TestServer::start(routes(), state, Bounds::default()), &routes());
}
