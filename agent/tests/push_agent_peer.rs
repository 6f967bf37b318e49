//! The push agent with Keylime 7.14.3's own registrar, verifier and tenant.

use std::time::{Duration, Instant};

use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{ima_log, peer};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);

fn option(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The peer's servers in push mode and our agent, registered but not enrolled.
fn started(verifier: &[(&str, &str)], arguments: &[&str]) -> Stack {
    peer::ensure().unwrap();
    let mut stack = Stack::prepare(|settings| {
        settings.quote_interval = 2.0;
        settings.verifier = verifier.iter().map(|(name, value)| option(name, value)).collect();
        if !verifier.iter().any(|(name, _)| *name == "mode") {
            settings.verifier.push(option("mode", "push"));
        }
    })
    .unwrap();
    stack.start_verifier(Implementation::Peer).unwrap();
    stack.start_registrar(Implementation::Peer).unwrap();
    stack.start_emulator().unwrap();
    stack.start_push_agent(arguments).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    stack
}

fn enrol(stack: &Stack, whose: Implementation) {
    let files: &[(&str, &[u8])] = &[("/usr/bin/allowed", b"allowed"), ("/usr/bin/later", b"later")];
    let policy = stack.write_json("policy.json", &ima_log::policy(files)).unwrap();
    let added = stack.tenant(whose, &["-c", "add", "--push-model", "--runtime-policy", &policy]).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
}

fn wait_for(what: &str, stack: &Stack, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "no {what}\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn record(stack: &Stack) -> Value {
    let whose = Implementation::Ours;
    let finished = stack.tenant(whose, &["-c", "cvstatus", "--push-model"]).unwrap();
    let records = finished.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut own = records.filter_map(|mut record| record.get_mut(&stack.settings.agent_id).map(Value::take));
    own.next().unwrap_or_default()
}

fn accepted(stack: &Stack) -> usize {
    stack.agent.as_ref().unwrap().output().matches("evidence accepted by the verifier").count()
}

fn wait_for_count(stack: &Stack, count: i64) {
    wait_for("attestation", stack, || record(stack)["attestation_count"].as_i64() >= Some(count));
}

#[test]
fn life_under_the_peers_verifier() {
    let mut stack = started(&[], &[]);
    enrol(&stack, Implementation::Peer);
    wait_for_count(&stack, 2);
    stack.ima.append("/usr/bin/allowed", b"allowed").unwrap();
    let before = record(&stack)["attestation_count"].as_i64().unwrap();
    wait_for_count(&stack, before + 2);
    assert_eq!(record(&stack)["attestation_status"], "PASS");

    // The verifier forgets the nonces it handed out and reads the tokens back from its database.
    stack.verifier.take().unwrap().kill();
    std::thread::sleep(Duration::from_secs(3));
    stack.start_verifier(Implementation::Peer).unwrap();
    let before = accepted(&stack);
    wait_for("attestation after the restart", &stack, || accepted(&stack) >= before + 2);
    assert_eq!(record(&stack)["attestation_status"], "PASS");

    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    wait_for("failure", &stack, || record(&stack)["attestation_status"] == "FAIL");
    let code = stack.agent.take().unwrap().terminate(Duration::from_secs(10)).unwrap();
    assert_eq!(code, Some(0));
}

#[test]
fn ended_tokens_are_renewed_without_missing_an_attestation() {
    let stack = started(&[("session_lifetime", "5"), ("extend_token_on_attestation", "False")], &[]);
    enrol(&stack, Implementation::Ours);
    let output = || stack.agent.as_ref().unwrap().output();
    wait_for("renewal", &stack, || output().matches("session with the verifier established").count() >= 3);
    let before = accepted(&stack);
    wait_for("attestation", &stack, || accepted(&stack) > before);
    assert!(output().contains("the token is no longer good"));
    assert_eq!(record(&stack)["attestation_status"], "PASS");
}

#[test]
fn without_a_tpm_it_still_speaks_the_protocol_and_says_what_it_is() {
    let stack = started(&[], &["--avoid-tpm"]);
    enrol(&stack, Implementation::Ours);
    wait_for_count(&stack, 2);
    stack.ima.append("/usr/bin/later", b"later").unwrap();
    let before = record(&stack)["attestation_count"].as_i64().unwrap();
    wait_for_count(&stack, before + 2);
    assert_eq!(record(&stack)["attestation_status"], "PASS");
    assert!(stack.agent.as_ref().unwrap().output().contains("NO TPM IS USED"));
}

#[test]
fn a_verifier_in_pull_mode_is_named_by_the_tenant() {
    let stack = started(&[("mode", "pull")], &[]);
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let arguments = ["-c", "add", "--push-model", "--runtime-policy", &policy];
    let added = stack.tenant(Implementation::Ours, &arguments).unwrap();
    assert_eq!(added.code, Some(1), "{added:?}");
    assert!(added.stdout.contains("mode = pull") || added.stderr.contains("mode = pull"), "{added:?}");
}
