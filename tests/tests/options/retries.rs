//! How often, how fast and how long verifier and tenant try to reach an agent.

use super::visitors::{Manner, Visitors};
use super::{START_LIMIT, Server, ask, enrolment, option, sample_key, settings};
use keylime_bench::fleet::rest_client::Target;
use reqwest::Method;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Base of the delays, seconds: the second is three times as long, or nine times, when delays grow.
const INTERVAL: f64 = 3.0;
const GROWN: Duration = Duration::from_millis(8_900);
/// The operational state `Failed`.
const FAILED: u8 = 7;

fn verifier(options: &[(&str, &str)]) -> (Server, Target) {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.verifier = options.iter().map(|(name, value)| option(name, value)).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], settings.verifier_port));
    let server = Server::start("keylime_verifier", dir, settings, address);
    let admin = server.https(address, "cv_ca", Some(("cv_ca/client", None)));
    (server, admin)
}

async fn enrol(server: &Server, admin: &Target, id: &str, port: u16) {
    let mut request = enrolment(port, &sample_key());
    request["mtls_cert"] = fs::read_to_string(server.file("cv_ca/server-cert.crt")).unwrap().into();
    let path = format!("/v2.5/agents/{id}");
    assert_eq!(ask(admin, Method::POST, &path, request.to_string()).await.status, 200);
}

async fn wait_for_failure(admin: &Target, id: &str) {
    let start = Instant::now();
    loop {
        let record = ask(admin, Method::GET, &format!("/v2.5/agents/{id}"), "").await;
        let record: Value = serde_json::from_slice(&record.body).unwrap();
        if record["results"]["operational_state"] == FAILED {
            return;
        }
        assert!(start.elapsed() < START_LIMIT, "{record}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_is_asked_as_often_as_the_options_say() {
    let interval = INTERVAL.to_string();
    let growing = [("retry_interval", interval.as_str()), ("max_retries", "2"), ("exponential_backoff", "True")];
    let constant = [("retry_interval", interval.as_str()), ("max_retries", "3"), ("exponential_backoff", "False")];
    let ((one, to_one), (other, to_other)) = (verifier(&growing), verifier(&constant));
    let (growing, constant) = (Visitors::expect(Manner::Closes), Visitors::expect(Manner::Closes));
    enrol(&one, &to_one, "away", growing.port).await;
    enrol(&other, &to_other, "away", constant.port).await;
    wait_for_failure(&to_one, "away").await;
    wait_for_failure(&to_other, "away").await;
    let (growing, constant) = (growing.pauses(), constant.pauses());
    assert_eq!((growing.len(), constant.len()), (2, 3), "max_retries: {growing:?} {constant:?}");
    let least = Duration::from_secs_f64(INTERVAL - 0.1);
    assert!(growing.iter().chain(&constant).all(|pause| *pause >= least), "retry_interval: {growing:?} {constant:?}");
    assert!(growing[1] >= GROWN, "exponential_backoff: {growing:?}");
    assert!(constant.iter().all(|pause| *pause < GROWN), "exponential_backoff: {constant:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_nothing_is_left_after_the_timeout() {
    let (server, admin) = verifier(&[("request_timeout", "1.5"), ("max_retries", "1"), ("retry_interval", "0.1")]);
    let silent = Visitors::expect(Manner::Silent);
    enrol(&server, &admin, "silent", silent.port).await;
    wait_for_failure(&admin, "silent").await;
    let visits = silent.visits();
    assert_eq!(visits.len(), 2, "{visits:?}");
    // Between the option and the default of a minute.
    let stayed = visits[0].stayed.unwrap();
    assert!(stayed >= Duration::from_millis(1_400) && stayed < Duration::from_secs(10), "request_timeout: {stayed:?}");
    // The first record of a TLS handshake.
    assert_eq!(visits[0].first, Some(22), "enable_agent_mtls");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mtls_agents_are_asked_in_the_clear() {
    let (server, admin) = verifier(&[
        ("enable_agent_mtls", "False"),
        ("request_timeout", "0.5"),
        ("max_retries", "1"),
        ("retry_interval", "0.1"),
    ]);
    let silent = Visitors::expect(Manner::Silent);
    enrol(&server, &admin, "silent", silent.port).await;
    wait_for_failure(&admin, "silent").await;
    assert_eq!(silent.visits()[0].first, Some(b'G'), "enable_agent_mtls");
}
