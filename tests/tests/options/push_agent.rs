//! `agent.conf`: whom a push agent talks to, and whom it believes.

use keylime_harness::child::Guarded;
use keylime_harness::ports;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log};
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use std::fs;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A site where the registrar can be reached through TLS only, and the agent has these options besides.
fn site(options: &[(&str, &str)]) -> Stack {
    let mut stack = Stack::prepare(|settings| {
        settings.verifier = vec![("mode".to_owned(), "push".to_owned())];
        let tls_port = settings.registrar_tls_port.to_string();
        let closed = ports::free().to_string();
        let own = [
            ("registrar_port", closed.as_str()),
            ("registrar_tls_enabled", "true"),
            ("registrar_tls_port", &tls_port),
            ("registrar_api_versions", "\"2.5\""),
            ("exponential_backoff_max_delay", "1000"),
        ];
        let all = own.iter().chain(options);
        settings.agent = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    })
    .unwrap();
    stack.start_verifier(Implementation::Ours).unwrap();
    stack.start_registrar(Implementation::Ours).unwrap();
    stack.start_emulator().unwrap();
    let agent = stack.dir().join("agent");
    fs::copy(stack.dir().join("cv_ca/cacert.crt"), agent.join("known.crt")).unwrap();
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    Authority::init(&agent.join("stranger"), &subject, "password").unwrap();
    stack
}

/// Whether attestations arrive within a time that is ample where nothing is in their way.
fn attests(stack: &mut Stack) -> bool {
    stack.start_push_agent(&[]).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let added =
        stack.tenant(Implementation::Ours, &["-c", "add", "--push-model", "--runtime-policy", &policy]).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        let log = fs::read_to_string(stack.dir().join("agent.log")).unwrap();
        if log.contains("UnknownIssuer") {
            return false;
        }
        let finished = stack.tenant(Implementation::Ours, &["-c", "cvstatus", "--push-model"]).unwrap();
        if finished.stdout.contains("\"attestation_status\": \"PASS\"") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("neither attested nor refused\n{}", stack.logs());
}

#[test]
fn peers_are_believed_whose_authority_the_options_name() {
    let known = [("registrar_tls_ca_cert", "\"known.crt\""), ("verifier_tls_ca_cert", "\"known.crt\"")];
    assert!(attests(&mut site(&known)), "verifier_tls_ca_cert, registrar_tls_ca_cert");
}

#[test]
fn a_verifier_of_another_authority_is_believed_only_where_anything_is() {
    let foreign = [("registrar_tls_ca_cert", "\"known.crt\""), ("verifier_tls_ca_cert", "\"stranger/cacert.crt\"")];
    assert!(!attests(&mut site(&foreign)), "verifier_tls_ca_cert");
    let lenient = [&foreign[..], &[("tls_accept_invalid_certs", "true")]].concat();
    assert!(attests(&mut site(&lenient)), "tls_accept_invalid_certs");
}

#[test]
fn a_registrar_of_another_authority_is_not_believed() {
    let stack = site(&[("registrar_tls_ca_cert", "\"stranger/cacert.crt\"")]);
    let mut command = stack.command(&binaries::path("keylime_push_model_agent"));
    command.env("KEYLIME_DIR", stack.dir().join("agent"));
    let mut agent = Guarded::spawn("push agent", &mut command, &stack.dir().join("agent.log")).unwrap();
    agent.wait_for_output("UnknownIssuer", LIMIT).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let listed = stack.tenant(Implementation::Ours, &["-c", "reglist"]).unwrap();
    assert!(!listed.stdout.contains(&stack.settings.agent_id), "registrar_tls_ca_cert: {listed:?}");
}
