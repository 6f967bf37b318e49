//! Every route of both servers against every kind of client (CVE-2026-1709, CVE-2021-43310).

mod support;

use keylime_gateway::authorization::ActionClass;
use keylime_gateway::routes::{registrar_routes, verifier_routes};
use keylime_gateway::routing::{Route, Transport};
use std::io;
use std::sync::Arc;
use support::backends::{ScriptedRegistrar, ScriptedVerifier, registrar_state, verifier_state};
use support::certificates::Client;
use support::running::{Bounds, TestServer};

/// Routes that anybody may take; a new line here is a decision.
const PUBLIC: [&str; 16] = [
    "verifier GET / read_server_info",
    "verifier GET /v2* read_server_info",
    "verifier GET /v2*/verify/identity verify_identity",
    "verifier GET /v3* read_server_info",
    "verifier GET /version read_version",
    "verifier GET /versions read_version",
    "verifier POST /v2*/verify/evidence verify_evidence",
    "registrar GET /v3* read_server_info",
    "registrar GET /version read_version",
    "registrar POST /v2*/agents register_agent",
    "registrar POST /v2*/agents/:agent_id register_agent",
    "registrar POST /v2*/agents/:agent_id/activate activate_agent",
    "registrar POST /v3*/agents register_agent",
    "registrar POST /v3*/agents/:agent_id/activate activate_agent",
    "registrar PUT /v2*/agents/:agent_id activate_agent",
    "registrar PUT /v2*/agents/:agent_id/activate activate_agent",
];

fn public<S: Send + Sync + 'static>(server: &str, routes: &[Route<S>]) -> Vec<String> {
    let public = routes.iter().filter(|route| route.action().class() == ActionClass::Public);
    let mut lines: Vec<_> = public
        .map(|route| format!("{server} {} {} {}", route.method(), route.pattern(), route.action().name()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn cve_2021_43310_the_public_routes_are_the_known_ones() {
    let mut found = public("verifier", &verifier_routes());
    found.extend(public("registrar", &registrar_routes()));
    assert_eq!(found, PUBLIC);
}

/// A request target that a route answers to.
fn target(pattern: &str) -> String {
    let path = pattern.replace("v2*", "v2.6").replace("v3*", "v3.0");
    path.split('/').map(|s| if s.starts_with(':') { "a1" } else { s }).collect::<Vec<_>>().join("/")
}

fn check_all<S: Send + Sync + 'static>(server: &TestServer, routes: &[Route<S>]) {
    for route in routes {
        let (method, path) = (route.method().as_str(), target(route.pattern()));
        let denied = format!("Action {} requires", route.action().name());
        let is_public = route.action().class() == ActionClass::Public;
        for client in [Client::None, Client::Nameless] {
            let answer = server.ask(client, method, &path, &[], "");
            if is_public {
                assert!(!matches!(answer.status, 401 | 403), "{client:?} {method} {path}: {answer:?}");
            } else {
                assert_eq!(answer.status, 403, "{client:?} {method} {path}: {answer:?}");
                let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
                assert!(detail.starts_with(&denied), "{client:?} {method} {path}: {detail}");
            }
        }
        for client in [Client::Admin, Client::WithClientUsage] {
            let answer = server.ask(client, method, &path, &[], "");
            assert!(!matches!(answer.status, 401 | 403), "{client:?} {method} {path}: {answer:?}");
        }
        let answer = server.ask(Client::Admin, method, &path, &[("Authorization", "Bearer nope")], "");
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        let answer = server.ask_plain(method, &path, &[], "");
        match route.transport() {
            Transport::TlsOnly => assert_eq!((answer.status, answer.body.as_str()), (400, ""), "{method} {path}"),
            Transport::Any => assert_ne!(answer.status, 403, "{method} {path}"),
        }
    }
}

#[test]
fn cve_2026_1709_every_verifier_route_is_guarded() {
    let server =
        TestServer::start(verifier_routes(), verifier_state(Arc::new(ScriptedVerifier::default())), Bounds::default());
    check_all(&server, &verifier_routes());
}

#[test]
fn cve_2026_1709_every_registrar_route_is_guarded() {
    let server = TestServer::start(
        registrar_routes(),
        registrar_state(Arc::new(ScriptedRegistrar::default())),
        Bounds::default(),
    );
    check_all(&server, &registrar_routes());
}

#[test]
fn unusable_certificates_end_in_the_handshake() {
    let server =
        TestServer::start(verifier_routes(), verifier_state(Arc::new(ScriptedVerifier::default())), Bounds::default());
    for (client, alert) in [
        (Client::ServerAuthOnly, None),
        (Client::Authority, Some(rustls::AlertDescription::UnknownCA)),
        (Client::Foreign, Some(rustls::AlertDescription::UnknownCA)),
        (Client::SelfSigned, Some(rustls::AlertDescription::UnknownCA)),
        (Client::Expired, Some(rustls::AlertDescription::CertificateExpired)),
        (Client::Revoked, Some(rustls::AlertDescription::CertificateRevoked)),
    ] {
        // Even a public route is out of reach: no byte of HTTP is answered.
        let error = server.try_ask(client, "GET", "/version", &[], "").expect_err(&format!("{client:?}"));
        let received = alert_of(&error);
        assert!(received.is_some(), "{client:?}: {error:?}");
        if alert.is_some() {
            assert_eq!(received, alert, "{client:?}: {error:?}");
        }
    }
}

fn alert_of(error: &io::Error) -> Option<rustls::AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[test]
fn denials_have_the_bodies_that_peers_know() {
    let server =
        TestServer::start(verifier_routes(), verifier_state(Arc::new(ScriptedVerifier::default())), Bounds::default());
    let answer = server.ask(Client::None, "GET", "/v2.5/agents/", &[], "");
    assert_eq!(
        answer.body,
        "{\"errors\": [{\"status\": \"403\", \"title\": \"Forbidden\", \"detail\": \
         \"Action list_agents requires admin authentication (mTLS certificate)\"}]}"
    );
    assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
    assert_eq!(answer.header("www-authenticate"), None);
    let answer = server.ask(Client::Admin, "GET", "/v2.5/agents/", &[("Authorization", "Basic x")], "");
    assert_eq!(
        answer.body,
        "{\"errors\": [{\"status\": \"401\", \"title\": \"Unauthorized\", \"detail\": \
         \"Invalid Authorization header format\"}]}"
    );
    // A path that is not routed never gets as far as the token.
    let answer = server.ask(Client::Admin, "GET", "/nothing", &[("Authorization", "Bearer nope")], "");
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
}
