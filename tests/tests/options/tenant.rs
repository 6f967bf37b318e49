//! `tenant.conf`, each option by its environment variable.

use super::KEY_PASSWORD;
use super::visitors::{Manner, Visitors};
use keylime_harness::child::{Finished, run};
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log, ports};
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn tenant(stack: &Stack, options: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = stack.command(&binaries::path("keylime_tenant"));
    command.args(arguments).args(["--uuid", &stack.settings.agent_id]);
    for (name, value) in options {
        command.env(format!("KEYLIME_TENANT_{}", name.to_uppercase()), value);
    }
    run(&mut command, LIMIT * 2).unwrap()
}

/// Asserts that the command fails and says this.
fn refused(stack: &Stack, options: &[(&str, &str)], arguments: &[&str], text: &str) {
    let finished = tenant(stack, options, arguments);
    assert_eq!(finished.code, Some(1), "{options:?}: {finished:?}");
    assert!(finished.stdout.contains(text), "{options:?}: {text:?} is not in {}", finished.stdout);
}

fn accepted(stack: &Stack, options: &[(&str, &str)], arguments: &[&str]) {
    let finished = tenant(stack, options, arguments);
    assert_eq!(finished.code, Some(0), "{options:?}: {finished:?}\n{}", stack.logs());
}

fn stack() -> Stack {
    let mut stack = Stack::prepare(|_| {}).unwrap();
    stack.start_all(Implementation::Ours, Implementation::Ours).unwrap();
    stack
}

#[test]
fn peers_are_found_and_believed_as_the_options_say() {
    let stack = stack();
    let (closed, own) = (ports::free().to_string(), stack.dir().join("own"));
    let place = |host: &str| format!("{host}:{closed}");
    refused(&stack, &[("verifier_port", &closed)], &["-c", "cvlist"], &place("127.0.0.1"));
    refused(
        &stack,
        &[("verifier_ip", "127.0.0.9"), ("verifier_port", &closed)],
        &["-c", "cvlist"],
        &place("127.0.0.9"),
    );
    refused(&stack, &[("registrar_port", &closed)], &["-c", "reglist"], &place("127.0.0.1"));
    let elsewhere = [("registrar_ip", "127.0.0.9"), ("registrar_port", closed.as_str())];
    refused(&stack, &elsewhere, &["-c", "reglist"], &place("127.0.0.9"));

    // A certificate of the verifier's authority under other names, its key encrypted.
    let mut authority = Authority::open(&stack.dir().join("cv_ca"), "stack password").unwrap();
    authority.issue("operator", &[], &[], Some(KEY_PASSWORD)).unwrap();
    fs::create_dir(&own).unwrap();
    for name in ["cacert.crt", "operator-cert.crt", "operator-private.pem"] {
        fs::rename(stack.dir().join("cv_ca").join(name), own.join(name)).unwrap();
    }
    fs::copy(own.join("cacert.crt"), stack.dir().join("cv_ca/cacert.crt")).unwrap();
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    Authority::init(&stack.dir().join("stranger"), &subject, "password").unwrap();
    let stranger = format!("['{}']", stack.dir().join("stranger/cacert.crt").display());
    let named = [
        ("tls_dir", "own"),
        ("client_cert", "operator-cert.crt"),
        ("client_key", "operator-private.pem"),
        ("client_key_password", KEY_PASSWORD),
        ("trusted_server_ca", "['cacert.crt']"),
    ];
    accepted(&stack, &named, &["-c", "cvlist"]);
    for (option, value) in [("client_key_password", "wrong"), ("client_cert", "none.crt"), ("client_key", "none.pem")] {
        let options: Vec<_> = named.into_iter().map(|(o, v)| (o, if o == option { value } else { v })).collect();
        refused(&stack, &options, &["-c", "cvlist"], "own/");
    }
    refused(&stack, &[("tls_dir", "nowhere")], &["-c", "cvlist"], "nowhere");
    refused(&stack, &[("trusted_server_ca", &stranger)], &["-c", "cvlist"], "certificate");
}

#[test]
fn requests_are_limited_and_repeated_as_the_options_say() {
    let stack = stack();
    let silent = Visitors::expect(Manner::Silent);
    let start = Instant::now();
    let options = [("verifier_port", silent.port.to_string()), ("request_timeout", "1.5".to_owned())];
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    refused(&stack, &options, &["-c", "cvlist"], "1.5");
    assert!(start.elapsed() >= Duration::from_millis(1_500) && start.elapsed() < LIMIT, "request_timeout");

    let busy = |options: &[(&str, &str)]| {
        let visitors = Visitors::expect(Manner::Busy);
        let port = visitors.port.to_string();
        let options = [options, &[("enable_agent_mtls", "False")]].concat();
        let finished =
            tenant(&stack, &options, &["-c", "add", "-t", "127.0.0.1", "-tp", &port, "--agent-api-version", "2.5"]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        // The first visitor only asks for the versions.
        visitors.pauses().split_off(1)
    };
    let base = ("retry_interval", "3");
    let (growing, constant, fewer) = std::thread::scope(|scope| {
        let growing = scope.spawn(|| busy(&[base, ("exponential_backoff", "True"), ("max_retries", "3")]));
        let constant = scope.spawn(|| busy(&[base, ("exponential_backoff", "False"), ("max_retries", "3")]));
        let fewer = scope.spawn(|| busy(&[base, ("exponential_backoff", "False"), ("max_retries", "2")]));
        (growing.join().unwrap(), constant.join().unwrap(), fewer.join().unwrap())
    });
    assert_eq!((constant.len(), fewer.len()), (2, 1), "max_retries: {constant:?} {fewer:?}");
    let least = Duration::from_millis(2_900);
    assert!(constant.iter().chain(&fewer).all(|pause| *pause >= least), "retry_interval: {constant:?} {fewer:?}");
    let grown = Duration::from_millis(8_900);
    assert!(growing[1] >= grown && constant[1] < grown, "exponential_backoff: {growing:?} {constant:?}");
}

#[test]
fn agents_are_enrolled_under_the_terms_of_the_options() {
    let stack = stack();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let add = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy];
    let secret = stack.dir().join("secret.txt");
    fs::write(&secret, "x".repeat(100)).unwrap();
    let with_payload = [&add[..], &["-f", secret.to_str().unwrap()]].concat();
    refused(&stack, &[("max_payload_size", "99")], &with_payload, "99");
    refused(&stack, &[("accept_tpm_hash_algs", "['sha512']")], &add, "hash algorithm");
    refused(&stack, &[("accept_tpm_encryption_algs", "['ecc']")], &add, "encryption algorithm");
    refused(&stack, &[("accept_tpm_signing_algs", "['ecdsa']")], &add, "signing algorithm");

    fs::create_dir(stack.dir().join("empty")).unwrap();
    refused(&stack, &[("tpm_cert_store", "empty")], &add, "Invalid EK certificate");
    let script = stack.dir().join("check.sh");
    fs::write(&script, "#!/bin/sh\necho \"$AGENT_UUID\" > asked\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    refused(&stack, &[("ek_check_script", "check.sh")], &add, "check.sh");
    assert_eq!(fs::read_to_string(stack.dir().join("asked")).unwrap().trim(), stack.settings.agent_id);
    refused(&stack, &[("enable_agent_mtls", "False")], &add, "127.0.0.1");

    let reference = stack.write_json("reference.json", &json!({})).unwrap();
    let boot = [&add[..], &["--mb-policy", "default"]].concat();
    let options = [("tpm_cert_store", "empty"), ("require_ek_cert", "False"), ("mb_refstate", reference.as_str())];
    accepted(&stack, &options, &boot);
    let record = stack.status(Implementation::Ours).unwrap();
    assert_eq!(record["has_mb_refstate"], 1, "mb_refstate: {record}");
}
