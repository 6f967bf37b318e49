//! The consumers that README.md shows work against a real verifier's revocations on a real broker.

use keylime_harness::child::Guarded;
use keylime_harness::rabbitmq::RabbitMq;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log, peer};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn rust_and_python_consumers_receive_a_revocation() {
    let broker = RabbitMq::start().unwrap();
    let mut stack = Stack::prepare(|settings| {
        settings.revocations =
            vec![("enabled_revocation_notifications".into(), "['amqp']".into()), ("amqp_url".into(), broker.url())];
    })
    .unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut rust = Command::new(binaries::dir().join("examples/revocation_consumer"));
    rust.args([&broker.url(), "rust-service", "1"]);
    let mut python = Command::new(peer::program("python3"));
    python.arg(examples.join("revocation_consumer.py")).args([&broker.url(), "python-service", "1"]);
    let mut rust = Guarded::spawn("the Rust consumer", &mut rust, &stack.dir().join("rust.log")).unwrap();
    let mut python = Guarded::spawn("the Python consumer", &mut python, &stack.dir().join("python.log")).unwrap();
    rust.wait_for_output("ready", LIMIT).unwrap();
    python.wait_for_output("ready", LIMIT).unwrap();

    stack.start_all(Implementation::Ours, Implementation::Ours).unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let added =
        stack.tenant(Implementation::Ours, &["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy]).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(1)).unwrap();
    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();

    let id = stack.settings.agent_id.clone();
    let event = "ima.validation.ima-ng.not_in_allowlist";
    rust.wait_for_output(&format!("agent \"{id}\" failed: \"{event}\" (\"emergency\")"), LIMIT).unwrap();
    python.wait_for_output(&format!("agent {id} failed: {event} (emergency)"), LIMIT).unwrap();
}
