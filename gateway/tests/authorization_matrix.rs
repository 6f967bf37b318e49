//! Every route of both servers against every kind of client (CVE-2026-1709, CVE-2021-43310).

mod support;

use keylime_actors::sessions::SessionOptions;
use keylime_gateway::routes::{
    RegistrarState, VerifierState, attestation_routes, described, registrar_routes, verifier_routes,
};
use keylime_gateway::routing::{Route, Transport};
use std::io;
use std::sync::Arc;
use support::backends::{ScriptedRegistrar, ScriptedVerifier, registrar_state, verifier_state};
use support::certificates::Client;
use support::running::{Bounds, TestServer};
use support::sessions::{MemorySessions, sessions};

/// A request target that a route answers to.
fn target(pattern: &str) -> String {
    let path = pattern.replace("v2*", "v2.6").replace("v3*", "v3.0");
    path.split('/').map(|s| if s.starts_with(':') { "a1" } else { s }).collect::<Vec<_>>().join("/")
}

/// The table of what everybody gets (`authorization.md` §2–§6), made by hand.
const TABLE: &str = include_str!("data/authorization_matrix.txt");

/// Tokens of the agents of this test.
#[derive(Default)]
struct AgentTokens {
    expired: String,
    inactive: String,
    other: String,
    own: String,
}

impl AgentTokens {
    /// Agent `a1`, which the paths name, has a session, and three others have one each.
    fn of(sessions: &MemorySessions) -> Self {
        let inactive = sessions.add("a4", 600);
        sessions.deactivate("a4");
        Self { expired: sessions.add("a3", -1), inactive, other: sessions.add("a2", 600), own: sessions.add("a1", 600) }
    }

    /// The credentials of a column.
    fn credentials(&self, column: &str) -> (Client, Option<String>) {
        let bearer = |token: &str| (Client::Admin, Some(format!("Bearer {token}")));
        match column {
            "none" => (Client::None, None),
            "nameless" => (Client::Nameless, None),
            "admin" => (Client::Admin, None),
            "client_usage" => (Client::WithClientUsage, None),
            "bad_token" => bearer("nope"),
            "expired" => bearer(&self.expired),
            "inactive" => bearer(&self.inactive),
            "other" => bearer(&self.other),
            "own" => bearer(&self.own),
            unknown => panic!("no such column: {unknown}"),
        }
    }
}

/// What the routes of a server answer, in the form of the table.
fn observed<S: Send + Sync + 'static>(
    name: &str,
    server: &TestServer,
    routes: &[Route<S>],
    tokens: &AgentTokens,
) -> Vec<String> {
    let columns = TABLE.lines().find_map(|line| line.strip_prefix("server method route action ")).unwrap();
    let mut lines = Vec::new();
    for route in routes {
        let (method, path) = (route.method().as_str(), target(route.pattern()));
        let mut line = format!("{name} {method} {} {}", route.pattern(), route.action().name());
        for column in columns.split(' ') {
            let (client, header) = tokens.credentials(column);
            let headers: Vec<_> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
            let answer = server.ask(client, method, &path, &headers, "");
            let cell = match answer.status {
                401 | 403 => answer.status.to_string(),
                // A route that breaks has not shown that it was guarded.
                500 => panic!("{column} {method} {path}: {answer:?}"),
                _ => "pass".to_owned(),
            };
            line.push_str(&format!(" {cell}"));
        }
        let plain = server.ask_plain(method, &path, &[], "");
        match route.transport() {
            Transport::TlsOnly => assert_eq!((plain.status, plain.body.as_str()), (400, ""), "{method} {path}"),
            Transport::Any => assert_ne!(plain.status, 403, "{method} {path}"),
        }
        lines.push(line);
    }
    lines.sort();
    lines
}

/// The table that a verifier serves which agents come to.
fn verifier_table() -> Vec<Route<VerifierState>> {
    let mut routes = verifier_routes();
    routes.extend(attestation_routes());
    described("verifier", routes)
}

/// The table that the registrar serves.
fn registrar_table() -> Vec<Route<RegistrarState>> {
    described("registrar", registrar_routes())
}

fn expected(server: &str) -> Vec<String> {
    let mut lines: Vec<_> = TABLE.lines().filter(|line| line.starts_with(server)).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn compare(server: &str, observed: &[String]) {
    let expected = expected(server);
    let unknown: Vec<_> = observed.iter().filter(|line| !expected.contains(line)).collect();
    let missing: Vec<_> = expected.iter().filter(|line| !observed.contains(line)).collect();
    assert!(unknown.is_empty() && missing.is_empty(), "observed:\n{unknown:#?}\nin the table:\n{missing:#?}");
}

#[test]
fn cve_2026_1709_every_verifier_route_is_guarded() {
    let stored = Arc::new(MemorySessions::default());
    let tokens = AgentTokens::of(&stored);
    let mut state = verifier_state(Arc::new(ScriptedVerifier::default()));
    state.sessions = sessions(SessionOptions::default(), Arc::clone(state.backend.store()), stored);
    let gate = Arc::new(state.sessions.clone());
    let server = TestServer::start_guarded(verifier_table(), state, gate, Bounds::default());
    compare("verifier", &observed("verifier", &server, &verifier_table(), &tokens));
}

#[test]
fn cve_2026_1709_no_route_of_the_registrar_is_open_by_accident() {
    let server = TestServer::start(
        registrar_table(),
        registrar_state(Arc::new(ScriptedRegistrar::default())),
        Bounds::default(),
    );
    compare("registrar", &observed("registrar", &server, &registrar_table(), &AgentTokens::default()));
}

/// Who has a certificate of an administrator and a token is the agent of the token, and reads only what is the agent's.
#[test]
fn a_token_beats_a_certificate() {
    let stored = Arc::new(MemorySessions::default());
    let tokens = AgentTokens::of(&stored);
    let mut state = verifier_state(Arc::new(ScriptedVerifier::with_agents(["a1".to_owned(), "a2".to_owned()])));
    state.sessions = sessions(SessionOptions::default(), Arc::clone(state.backend.store()), Arc::clone(&stored) as _);
    let gate = Arc::new(state.sessions.clone());
    let server = TestServer::start_guarded(verifier_routes(), state, gate, Bounds::default());
    let own = format!("Bearer {}", tokens.own);
    let headers = [("Authorization", own.as_str())];
    let answer = server.ask(Client::Admin, "GET", "/v2.6/agents/a1?agents=a2&agent_id=a2", &headers, "");
    assert_eq!((answer.status, answer.json()["results"]["v"].is_null()), (200, true), "{answer:?}");
    let answer = server.ask(Client::Admin, "GET", "/v3/agents/a1", &headers, "");
    let document = answer.json();
    assert_eq!((answer.status, &document["data"]["id"]), (200, &"a1".into()), "{answer:?}");
    assert!(document["data"]["attributes"]["v"].is_null());
    let answer = server.ask(Client::Admin, "GET", "/v3/agents/a2", &headers, "");
    assert_eq!(
        answer.json()["errors"][0]["detail"],
        "Agent a1 cannot access resource a2 (ownership required)",
        "{answer:?}"
    );
    // A database that is away is no reason to throw a token away.
    stored.away.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(server.ask(Client::None, "GET", "/v3/agents/a1", &headers, "").status, 200);
    let other = format!("Bearer {}", tokens.other);
    let answer = server.ask(Client::None, "GET", "/v3/agents/a2", &[("Authorization", other.as_str())], "");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
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
