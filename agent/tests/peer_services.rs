//! The agent with Keylime 7.14.3's own registrar, verifier and tenant: enrolment with a certificate package, payload, key
//! proof, attestation, and a revocation that sets off the payload's action.

use std::path::Path;
use std::time::{Duration, Instant};

use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{ima_log, peer};

const LIMIT: Duration = Duration::from_secs(90);

fn wait_for(what: &str, stack: &Stack, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "no {what}\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the tenant packs: a script, and an action for revocations.
fn write_payload(directory: &Path, place: &Path) {
    std::fs::create_dir(directory).unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    write("autorun.sh", format!("#!/bin/sh\nls > {}/ran\n", place.display()));
    write("action_list", "local_action_note\n".to_owned());
    write("local_action_note", format!("#!/bin/sh\ncp \"$1\" {}/revoked\n", place.display()));
}

#[test]
fn life_under_the_peer() {
    peer::ensure().unwrap();
    let mut stack = Stack::prepare(|settings| {
        settings.revocations = vec![("enabled_revocation_notifications".to_owned(), "['agent']".to_owned())];
    })
    .unwrap();
    stack.start_all(Implementation::Peer, Implementation::Peer).unwrap();
    let payload = stack.dir().join("payload");
    write_payload(&payload, stack.dir());
    let policy = stack.write_json("policy.json", &ima_log::policy(&[("/usr/bin/allowed", b"allowed")])).unwrap();
    let payload = payload.display().to_string();
    let arguments = [
        "-c",
        "add",
        "-t",
        "127.0.0.1",
        "--runtime-policy",
        &policy,
        "--cert",
        "default",
        "--include",
        &payload,
        "--verify",
    ];
    let added = stack.tenant(Implementation::Peer, &arguments).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());

    wait_for("payload", &stack, || stack.dir().join("ran").exists());
    stack.ima.append("/usr/bin/allowed", b"allowed").unwrap();
    wait_for("attestation", &stack, || {
        stack.status(Implementation::Peer).is_ok_and(|record| record["attestation_count"].as_i64() >= Some(3))
    });
    assert_eq!(stack.status(Implementation::Peer).unwrap()["attestation_status"], "PASS");
    let ran = std::fs::read_to_string(stack.dir().join("ran")).unwrap();
    assert!(ran.contains("RevocationNotifier-cert.crt") && ran.contains("derived_tci_key"), "{ran}");

    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    wait_for("revocation", &stack, || stack.dir().join("revoked").exists());
    let notice = std::fs::read_to_string(stack.dir().join("revoked")).unwrap();
    assert!(notice.contains("\"event_id\":\"ima.validation.ima-ng.not_in_allowlist\""), "{notice}");
}
