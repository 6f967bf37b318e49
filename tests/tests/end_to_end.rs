//! The main job on real parts, with every mix of this project's programs and Keylime 7.14.3's.
//!
//! Each test runs one stack: a software TPM with an EK certificate, registrar, verifier, our agent with its IMA emulator, and
//! a tenant.

use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::webhook_sink::WebhookSink;
use keylime_harness::{ima_log, ports};
use serde_json::Value;
use std::time::Duration;

use Implementation::{Ours, Peer};

const LIMIT: Duration = Duration::from_secs(60);

fn text<'v>(record: &'v Value, member: &str) -> &'v str {
    record[member].as_str().unwrap_or("")
}

/// Register, enrol with a runtime policy, attest, take an allowed file, catch an unknown one, tell the webhook, clean up.
fn main_job(verifier: Implementation, registrar: Implementation, tenant: Implementation) {
    let port = ports::free();
    let mut stack = Stack::prepare(|settings| {
        settings.revocations = vec![
            ("enabled_revocation_notifications".into(), "['webhook']".into()),
            ("webhook_url".into(), format!("https://127.0.0.1:{port}")),
        ];
    })
    .unwrap();
    stack.start_all(verifier, registrar).unwrap();
    let ca = stack.dir().join("cv_ca");
    let sink = WebhookSink::start(port, &ca.join("server-cert.crt"), &ca.join("server-private.pem")).unwrap();

    let policy = ima_log::policy(&[("/usr/bin/allowed", b"allowed"), ("/usr/bin/later", b"later")]);
    let policy = stack.write_json("policy.json", &policy).unwrap();
    stack.ima.append("/usr/bin/allowed", b"allowed").unwrap();
    let added = stack.tenant(tenant, &["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy]).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());

    // Three attestations, then an allowed file: still attested, and more often.
    let record = stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(3)).unwrap();
    assert_eq!(text(&record, "operational_state"), "Get Quote");
    assert_eq!(text(&record, "attestation_status"), "PASS");
    stack.ima.append("/usr/bin/later", b"later").unwrap();
    let count = record["attestation_count"].as_i64().unwrap();
    let record = stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(count + 3)).unwrap();
    assert_eq!(text(&record, "attestation_status"), "PASS");

    // The moment an unknown file runs, the agent has failed, and the webhook hears of it.
    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    let record = stack.wait_for_status(LIMIT, |r| text(r, "operational_state") == "Invalid Quote").unwrap();
    assert_eq!(text(&record, "attestation_status"), "FAIL");
    assert_eq!(text(&record, "last_event_id"), "ima.validation.ima-ng.not_in_allowlist");
    let notice = sink.wait_for("revocation", LIMIT).unwrap_or_else(|| panic!("no webhook\n{}", stack.logs()));
    let notice: Value = serde_json::from_str(&notice).unwrap();
    let inner: Value = serde_json::from_str(notice["msg"].as_str().unwrap()).unwrap();
    assert_eq!(text(&inner, "agent_id"), stack.settings.agent_id);
    assert_eq!(text(&inner, "event_id"), "ima.validation.ima-ng.not_in_allowlist");
    assert_eq!(text(&inner, "severity_label"), "emergency");

    let deleted = stack.tenant(tenant, &["-c", "delete"]).unwrap();
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert!(deleted.stdout.contains("deleted from the CV"), "{deleted:?}");
    let gone = stack.tenant(tenant, &["-c", "cvstatus"]).unwrap();
    assert_eq!(gone.code, Some(1), "{gone:?}");
    let removed = stack.tenant(tenant, &["-c", "regdelete"]).unwrap();
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let status = stack.tenant(tenant, &["-c", "regstatus"]).unwrap();
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(status.stdout.contains("does not exist on the registrar"), "{status:?}");
}

#[test]
fn our_tenant_on_our_servers() {
    main_job(Ours, Ours, Ours);
}

#[test]
fn the_peers_tenant_on_our_servers() {
    main_job(Ours, Ours, Peer);
}

#[test]
fn our_tenant_on_the_peers_servers() {
    main_job(Peer, Peer, Ours);
}

#[test]
fn our_verifier_beside_the_peers_registrar() {
    main_job(Ours, Peer, Ours);
}

/// A payload reaches the machine only through both key shares, and its script runs.
fn payload(verifier: Implementation, registrar: Implementation, tenant: Implementation) {
    let mut stack = Stack::prepare(|settings| {
        settings.agent = vec![("extract_payload_zip".into(), "false".into()), ("payload_script".into(), "\"\"".into())];
    })
    .unwrap();
    stack.start_all(verifier, registrar).unwrap();
    let secret = stack.dir().join("secret.txt");
    std::fs::write(&secret, "a secret for the machine").unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let file = secret.display().to_string();
    let arguments = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy, "-f", &file, "--verify"];
    let added = stack.tenant(tenant, &arguments).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    let delivered = stack.dir().join("agent/secure/unzipped/decrypted_payload");
    let start = std::time::Instant::now();
    while !delivered.exists() {
        assert!(start.elapsed() < LIMIT, "no payload\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(std::fs::read_to_string(delivered).unwrap(), "a secret for the machine");
    let record = stack.wait_for_status(LIMIT, |r| text(r, "operational_state") == "Get Quote").unwrap();
    assert_eq!(text(&record, "attestation_status"), "PASS");
}

#[test]
fn payload_on_our_servers() {
    payload(Ours, Ours, Ours);
}

#[test]
fn payload_by_the_peers_tenant() {
    payload(Ours, Ours, Peer);
}

#[test]
fn payload_on_the_peers_servers() {
    payload(Peer, Peer, Ours);
}

/// A certificate of the operator's authority reaches the machine, with the key that verifies revocations and more files.
fn certificate(verifier: Implementation, registrar: Implementation, tenant: Implementation) {
    let mut stack = Stack::prepare(|settings| {
        settings.agent = vec![("payload_script".into(), "\"\"".into())];
    })
    .unwrap();
    stack.start_all(verifier, registrar).unwrap();
    let include = stack.dir().join("include");
    std::fs::create_dir(&include).unwrap();
    std::fs::write(include.join("note.txt"), "for the machine").unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let (ca, include) = (stack.dir().join("ca").display().to_string(), include.display().to_string());
    let package = ["--cert", &ca, "--include", &include, "--verify"];
    let added = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy];
    let added = stack.tenant(tenant, &[&added[..], &package[..]].concat()).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());

    let unpacked = stack.dir().join("agent/secure/unzipped");
    let id = stack.settings.agent_id.clone();
    let names = [format!("{id}-cert.crt"), format!("{id}-private.pem"), "RevocationNotifier-cert.crt".to_owned()];
    let start = std::time::Instant::now();
    while !unpacked.join("note.txt").exists() {
        assert!(start.elapsed() < LIMIT, "no package\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
    for name in names {
        assert!(unpacked.join(&name).exists(), "{name} is missing");
    }
    let record = stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(1)).unwrap();
    let metadata: Value = serde_json::from_str(text(&record, "meta_data")).unwrap();
    assert_eq!(metadata["cert_serial"], 2);
    assert!(text(&metadata, "subject").ends_with(&format!("CN={id},C=US")), "{metadata}");
}

#[test]
fn certificate_on_our_servers() {
    certificate(Ours, Ours, Ours);
}

#[test]
fn certificate_on_the_peers_servers() {
    certificate(Peer, Peer, Ours);
}

/// A named policy on the verifier, a wrong static PCR value, a restart, a silent machine.
fn life_of_an_agent(tenant: Implementation) {
    let mut stack = Stack::prepare(|_| {}).unwrap();
    stack.start_all(Ours, Ours).unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let named = ["-c", "addruntimepolicy", "--runtime-policy-name", "base", "--runtime-policy", &policy];
    assert_eq!(stack.tenant(tenant, &named).unwrap().code, Some(0));
    let twice = stack.tenant(tenant, &named).unwrap();
    assert_eq!(twice.code, Some(1), "{twice:?}");
    assert!(twice.stdout.contains("Runtime policy with name base already exists"), "{twice:?}");

    let add = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy-name", "base"];
    let added = stack.tenant(tenant, &add).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(2)).unwrap();
    let used = stack.tenant(tenant, &["-c", "deleteruntimepolicy", "--runtime-policy-name", "base"]).unwrap();
    assert_eq!(used.code, Some(1), "{used:?}");
    assert!(used.stdout.contains("currently in use by agent"), "{used:?}");

    // A killed verifier takes up its agents again, with what it had learned of them.
    let count = stack.status(Ours).unwrap()["attestation_count"].as_i64().unwrap();
    stack.verifier.as_mut().unwrap().kill();
    stack.start_verifier(Ours).unwrap();
    let record = stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(count + 2)).unwrap();
    assert_eq!(text(&record, "attestation_status"), "PASS", "{record}");

    // A wrong static value fails, and says which PCR.
    let zero = "0".repeat(63) + "1";
    let wrong = format!("{{\"23\": [\"{zero}\"]}}");
    let updated = stack
        .tenant(tenant, &["-c", "update", "-t", "127.0.0.1", "--runtime-policy-name", "base", "--tpm_policy", &wrong])
        .unwrap();
    assert_eq!(updated.code, Some(0), "{updated:?}\n{}", stack.logs());
    let record = stack.wait_for_status(LIMIT, |r| text(r, "operational_state") == "Invalid Quote").unwrap();
    assert_eq!(text(&record, "last_event_id"), "pcr_validation.invalid_pcr_23");

    // A silent machine is not reachable, which is neither a pass nor a failed appraisal.
    let updated = stack.tenant(tenant, &["-c", "update", "-t", "127.0.0.1", "--runtime-policy-name", "base"]).unwrap();
    assert_eq!(updated.code, Some(0), "{updated:?}\n{}", stack.logs());
    stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(1)).unwrap();
    stack.agent = None;
    let record = stack.wait_for_status(LIMIT, |r| text(r, "operational_state") == "Failed").unwrap();
    assert_eq!(text(&record, "last_event_id"), "internal.verifier.not_reachable");
}

#[test]
fn life_of_an_agent_with_our_tenant() {
    life_of_an_agent(Ours);
}

#[test]
fn life_of_an_agent_with_the_peers_tenant() {
    life_of_an_agent(Peer);
}
