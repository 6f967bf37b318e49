//! Push attestation over real HTTPS: a scripted agent with a software TPM proves itself to our verifier, and everything that
//! is not its own fresh evidence is refused or fails.

mod push_site;

use keylime_bench::push_machine::{PushMachine, Wanted};
use keylime_harness::stack::Implementation;
use push_site::Site;
use serde_json::{Value, json};
use std::time::Duration;

const ALLOWED: &[u8] = b"allowed";

fn digest(content: &[u8]) -> [u8; 32] {
    keylime_engine::algorithm::HashAlgorithm::Sha256.digest(&[content]).as_bytes().try_into().unwrap()
}

#[test]
fn a_machine_proves_itself_and_everything_else_does_not() {
    let site = Site::start(&[]);
    let (mut machine, mut other) = (PushMachine::from_seed(1).unwrap(), PushMachine::from_seed(2).unwrap());
    machine.run("/usr/bin/allowed", &digest(ALLOWED));
    site.enrol("agent-1", &machine, &[("/usr/bin/allowed", ALLOWED), ("/usr/bin/later", b"later")]);
    site.enrol("agent-2", &other, &[]);
    let (token, foreign) = (site.token("agent-1", &mut machine), site.token("agent-2", &mut other));

    // A good attestation, then one that sends only what is new.
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let first = machine.evidence(&wanted).unwrap();
    let taken = site.agent(&token, "PATCH", &location, &first);
    assert_eq!(taken.status, 202, "{taken:?}");
    assert_eq!(taken.body["meta"]["seconds_to_next_attestation"], 1);
    assert_eq!(site.verdict(&location), ("pass".to_owned(), Value::Null), "{}", site.stack.logs());
    assert_eq!(site.status("agent-1")["attestation_status"], "PASS");
    machine.run("/usr/bin/later", &digest(b"later"));
    let (location, wanted) = site.open("agent-1", &token, &machine);
    assert_eq!(wanted.ima_offset, Some(2));
    let again = machine.evidence(&wanted).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &again).status, 202);
    assert_eq!(site.verdict(&location).0, "pass");

    // The same evidence twice, with another agent's token, and for the next challenge.
    assert_eq!(site.agent(&token, "PATCH", &location, &again).code(), "evidence_immutable");
    assert_eq!(site.agent(&foreign, "PATCH", &location, &again).status, 403);
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let mut replayed = again.clone();
    replayed["data"]["attributes"]["evidence_collected"][1]["data"]["entries"] = "".into();
    assert_eq!(site.agent(&token, "PATCH", &location, &replayed).status, 202);
    assert_eq!(site.verdict(&location), ("fail".to_owned(), json!("broken_evidence_chain")));

    // Signed by another machine for the right challenge; cut short.
    let (location, _) = site.open("agent-1", &token, &machine);
    let stolen = other.evidence(&Wanted { ima_offset: Some(0), ..wanted.clone() }).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &stolen).status, 202);
    assert_eq!(site.verdict(&location).1, json!("broken_evidence_chain"));
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let mut short = machine.evidence(&wanted).unwrap();
    short["data"]["attributes"]["evidence_collected"][0]["data"]["message"] = "/1RDRw==".into();
    assert_eq!(site.agent(&token, "PATCH", &location, &short).status, 422);

    // An unknown program is a violation of policy, and the status says so.
    machine.run("/usr/bin/unknown", &digest(b"unknown"));
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let honest = machine.evidence(&wanted).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &honest).status, 202);
    assert_eq!(site.verdict(&location), ("fail".to_owned(), json!("policy_violation")));
    let status = site.status("agent-1");
    assert_eq!((&status["attestation_status"], &status["attestation_count"]), (&json!("FAIL"), &json!(2)));
    let list = site.admin("GET", "/v3.0/agents/agent-1/attestations", "");
    assert!(list.body["data"].as_array().unwrap().len() >= 3, "{list:?}");
}

#[test]
fn silence_is_a_timeout_and_the_next_attestation_ends_it() {
    let site = Site::start(&[]);
    let mut machine = PushMachine::from_seed(3).unwrap();
    site.enrol("agent-1", &machine, &[]);
    let token = site.token("agent-1", &mut machine);
    let attest = |machine: &mut PushMachine| {
        let (location, wanted) = site.open("agent-1", &token, machine);
        let evidence = machine.evidence(&wanted).unwrap();
        assert_eq!(site.agent(&token, "PATCH", &location, &evidence).status, 202);
        site.verdict(&location).0
    };
    assert_eq!(attest(&mut machine), "pass", "{}", site.stack.logs());
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(site.status("agent-1")["attestation_status"], "TIMEOUT");
    assert_eq!(attest(&mut machine), "pass");
    assert_eq!(site.status("agent-1")["attestation_status"], "PASS");
}

#[test]
fn a_killed_verifier_loses_no_evidence_and_honours_no_old_challenge() {
    let mut site = Site::start(&[]);
    let mut machine = PushMachine::from_seed(4).unwrap();
    site.enrol("agent-1", &machine, &[]);
    let token = site.token("agent-1", &mut machine);
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let evidence = machine.evidence(&wanted).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &evidence).status, 202);
    // Whether the verdict was stored before the kill or not, it is there afterwards.
    site.stack.verifier = None;
    site.stack.start_verifier(Implementation::Ours).unwrap();
    assert_eq!(site.verdict(&location).0, "pass", "{}", site.stack.logs());
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let evidence = machine.evidence(&wanted).unwrap();
    site.stack.verifier = None;
    site.stack.start_verifier(Implementation::Ours).unwrap();
    let late = site.agent(&token, "PATCH", &location, &evidence);
    assert_eq!(late.code(), "old_attestation", "{late:?}");
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let evidence = machine.evidence(&wanted).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &evidence).status, 202);
    assert_eq!(site.verdict(&location).0, "pass");
}
