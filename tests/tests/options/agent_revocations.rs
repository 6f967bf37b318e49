//! `agent.conf`: which revocations an agent hears of, whom it believes and what it does then.

use keylime_harness::ima_log;
use keylime_harness::ports;
use keylime_harness::stack::{Implementation, Stack};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn the_operators_actions_run_and_those_of_the_payload_only_with_leave() {
    let port = ports::free();
    let mut stack = Stack::prepare(|settings| {
        let notifier = [
            ("enabled_revocation_notifications", "['zeromq']".to_owned()),
            ("zmq_ip", "127.0.0.5".to_owned()),
            ("zmq_port", port.to_string()),
        ];
        settings.revocations = notifier.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let listener = [
            ("enable_revocation_notifications", "true".to_owned()),
            ("revocation_notification_ip", "\"127.0.0.5\"".to_owned()),
            ("revocation_notification_port", port.to_string()),
            ("revocation_cert", "\"secure/unzipped/own-notifier.crt\"".to_owned()),
            ("revocation_actions", "\"local_action_own\"".to_owned()),
            ("allow_payload_revocation_actions", "false".to_owned()),
        ];
        settings.agent = listener.map(|(name, value)| (name.to_owned(), value)).to_vec();
    })
    .unwrap();
    // The default of the stack for revocation_actions_dir is the agent's directory; another one is used here.
    let actions = stack.dir().join("actions");
    fs::create_dir(&actions).unwrap();
    let file = stack.dir().join("agent.conf");
    let text = fs::read_to_string(&file).unwrap();
    let option = |directory: &str| format!("revocation_actions_dir = \"{}/{directory}\"", stack.dir().display());
    fs::write(&file, text.replace(&option("agent"), &option("actions"))).unwrap();
    let place = stack.dir().display().to_string();
    script(&actions.join("local_action_own"), &format!("cp \"$1\" {place}/own.new; mv {place}/own.new {place}/own"));
    let payload = stack.dir().join("payload");
    fs::create_dir(&payload).unwrap();
    fs::write(payload.join("action_list"), "local_action_enclosed\n").unwrap();
    script(&payload.join("local_action_enclosed"), &format!("touch {place}/enclosed"));
    script(&payload.join("autorun.sh"), &format!("cp RevocationNotifier-cert.crt own-notifier.crt; touch {place}/ran"));
    stack.start_all(Implementation::Ours, Implementation::Ours).unwrap();

    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let (ca, payload) = (stack.dir().join("ca").display().to_string(), payload.display().to_string());
    let package = ["--cert", &ca, "--include", &payload, "--verify"];
    let added = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy];
    let added = stack.tenant(Implementation::Ours, &[&added[..], &package[..]].concat()).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    let wait_for = |name: &str| {
        let begun = Instant::now();
        while !stack.dir().join(name).exists() {
            assert!(begun.elapsed() < LIMIT, "no {name}\n{}", stack.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for("ran");
    stack.wait_for_status(LIMIT, |record| record["attestation_count"].as_u64() >= Some(1)).unwrap();
    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    wait_for("own");
    let notice = fs::read_to_string(stack.dir().join("own")).unwrap();
    assert!(notice.contains("ima.validation.ima-ng.not_in_allowlist"), "{notice}");
    // Actions run one after the other, so that of the payload would have been tried by now or soon.
    std::thread::sleep(Duration::from_secs(1));
    assert!(!stack.dir().join("enclosed").exists(), "allow_payload_revocation_actions\n{}", stack.logs());
}
