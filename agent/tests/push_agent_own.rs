//! The push model from end to end: our agent at our verifier, with RSA and EC keys, a reboot, an unknown file, and silence.

use std::time::{Duration, Instant};

use keylime_harness::ima_log;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::webhook_sink::WebhookSink;
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn option(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Our servers in push mode and our agent, enrolled.
fn enrolled(agent: &[(&str, &str)], revocations: Vec<(String, String)>) -> Stack {
    let mut stack = Stack::prepare(|settings| {
        settings.quote_interval = 1.0;
        settings.verifier = vec![option("mode", "push")];
        settings.revocations = revocations;
        settings.agent = agent.iter().map(|(name, value)| option(name, value)).collect();
        settings.agent.push(option("attestation_interval_seconds", "1"));
    })
    .unwrap();
    stack.start_verifier(Implementation::Ours).unwrap();
    stack.start_registrar(Implementation::Ours).unwrap();
    stack.start_emulator().unwrap();
    stack.start_push_agent(&[]).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let policy = stack.write_json("policy.json", &ima_log::policy(&[("/usr/bin/allowed", b"allowed")])).unwrap();
    let arguments = ["-c", "add", "--push-model", "--runtime-policy", &policy];
    let added = stack.tenant(Implementation::Ours, &arguments).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    stack
}

fn record(stack: &Stack) -> Value {
    let finished = stack.tenant(Implementation::Ours, &["-c", "cvstatus", "--push-model"]).unwrap();
    let records = finished.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut own = records.filter_map(|mut record| record.get_mut(&stack.settings.agent_id).map(Value::take));
    own.next().unwrap_or_default()
}

fn wait_for(stack: &Stack, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let record = record(stack);
        if wanted(&record) {
            return record;
        }
        assert!(start.elapsed() < LIMIT, "no {what}: {record}\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wait_for_more(stack: &Stack) -> i64 {
    let count = |record: &Value| record["attestation_count"].as_i64().unwrap_or(0);
    let before = count(&record(stack));
    count(&wait_for(stack, "attestation", |record| count(record) >= before + 2))
}

/// Attests, reboots, attests again, and fails when an unknown file runs.
fn life(agent: &[(&str, &str)]) {
    let sink = WebhookSink::start_plain().unwrap();
    let url = format!("http://127.0.0.1:{}/", sink.port());
    let notifier = vec![option("enabled_revocation_notifications", "['webhook']"), option("webhook_url", &url)];
    let mut stack = enrolled(agent, notifier);
    wait_for_more(&stack);
    stack.ima.append("/usr/bin/allowed", b"allowed").unwrap();
    wait_for_more(&stack);

    stack.reboot().unwrap();
    stack.start_emulator().unwrap();
    stack.start_push_agent(&[]).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    wait_for_more(&stack);
    assert_eq!(record(&stack)["attestation_status"], "PASS");

    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    wait_for(&stack, "failure", |record| record["attestation_status"] == "FAIL");
    let notice = sink.wait_for("revocation", LIMIT).unwrap_or_else(|| panic!("no revocation\n{}", stack.logs()));
    assert!(notice.contains("not_in_allowlist"), "{notice}");
}

#[test]
fn life_with_an_rsa_key() {
    life(&[]);
}

#[test]
fn life_with_a_key_on_p256() {
    life(&[("tpm_encryption_alg", "\"ecc256\""), ("tpm_signing_alg", "\"ecdsa\"")]);
}

#[test]
fn silence_is_a_timeout_and_speech_ends_it() {
    let stack = enrolled(&[], Vec::new());
    wait_for_more(&stack);
    let agent = stack.agent.as_ref().unwrap();
    agent.signal(Signal::SIGSTOP);
    wait_for(&stack, "timeout", |record| record["attestation_status"] == "TIMEOUT");
    agent.signal(Signal::SIGCONT);
    wait_for(&stack, "recovery", |record| record["attestation_status"] == "PASS");
}

#[test]
fn the_verifier_is_killed_and_tokens_stay_good() {
    let mut stack = enrolled(&[], Vec::new());
    wait_for_more(&stack);
    stack.verifier.take().unwrap().kill();
    stack.start_verifier(Implementation::Ours).unwrap();
    let sessions =
        |stack: &Stack| stack.agent.as_ref().unwrap().output().matches("session with the verifier established").count();
    let before = sessions(&stack);
    wait_for_more(&stack);
    assert_eq!(sessions(&stack), before, "the token was renewed\n{}", stack.logs());
}
