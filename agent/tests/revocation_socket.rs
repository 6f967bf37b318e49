//! Revocation notices from a ZeroMQ socket of libzmq, the library Keylime's own verifier publishes with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keylime_agent::configuration::settings::RevocationSettings;
use keylime_agent::revocation::actions::ActionRunner;
use keylime_agent::revocation::worker::RevocationWorker;
use keylime_harness::child::Guarded;
use keylime_harness::{peer, ports};
use serde_json::Value;

/// Publishes what it finds in a file again and again: subscribers come late.
const PUBLISHER: &str = "
import sys, time, zmq
socket = zmq.Context().socket(zmq.PUB)
socket.bind(sys.argv[1])
while True:
    socket.send_string(open(sys.argv[2]).read())
    time.sleep(0.2)
";

fn write_action(directory: &Path) {
    let action = directory.join("note");
    std::fs::write(&action, "#!/bin/sh\ncp \"$1\" revoked\n").unwrap();
    std::fs::set_permissions(&action, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn notices_of_libzmq_set_off_the_actions() {
    peer::ensure().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let vectors: Value = serde_json::from_str(include_str!("data/revocation.json")).unwrap();
    std::fs::write(path("certificate"), vectors["certificate_pem"].as_str().unwrap()).unwrap();
    std::fs::write(path("message"), vectors["agent_request_body"].as_str().unwrap()).unwrap();
    write_action(directory.path());
    let address = format!("tcp://127.0.0.1:{}", ports::free());
    let mut publisher = Command::new(peer::program("python3"));
    publisher.args(["-c", PUBLISHER, &address]).arg(path("message"));
    let _publisher = Guarded::spawn("publisher", &mut publisher, &path("log")).unwrap();

    let settings = RevocationSettings {
        enable_notifications: true,
        notification_ip: "127.0.0.1".to_owned(),
        notification_port: 0,
        certificate: path("certificate"),
        actions: vec!["note".to_owned()],
        actions_dir: directory.path().to_owned(),
        allow_payload_actions: false,
    };
    let worker = RevocationWorker {
        certificate: path("certificate"),
        actions: ActionRunner::new(settings, directory.path(), directory.path()),
        subscription: Some(address),
    };
    let queue = worker.start();
    queue.payload_arrived().await;
    let start = Instant::now();
    while !path("revoked").exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "no notice arrived");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let notice = std::fs::read_to_string(path("revoked")).unwrap();
    assert_eq!(notice, vectors["file_given_to_action"].as_str().unwrap());
}
