//! A broker that lets nobody in without a certificate: what the verifier shows and whom it believes are options.

use keylime_harness::rabbitmq::{RabbitMq, TlsFiles};
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::subscriber::Subscriber;
use keylime_harness::{configuration, ima_log};
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const KEY_PASSWORD: &str = "of the key";

/// The broker's own authority; that of the verifier has nothing to do with it.
struct BrokerAuthority(TempDir);

impl BrokerAuthority {
    fn found() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
        let mut authority = Authority::init(directory.path(), &subject, "password").unwrap();
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        authority.issue("localhost", &["localhost".to_owned()], &[local], None).unwrap();
        authority.issue("verifier", &[], &[], Some(KEY_PASSWORD)).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            authority: self.file("cacert.crt"),
            certificate: self.file("localhost-cert.crt"),
            key: self.file("localhost-private.pem"),
        }
    }
}

fn option(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Starts the verifier anew with other options of `[revocations]`.
fn restart(stack: &mut Stack, revocations: Vec<(String, String)>) {
    if let Some(mut verifier) = stack.verifier.take() {
        verifier.terminate(LIMIT).unwrap();
    }
    // What is waited for next must not be found in what was said before.
    std::fs::write(stack.dir().join("verifier.log"), "").unwrap();
    stack.settings.revocations = revocations;
    configuration::write(stack.dir(), &stack.settings).unwrap();
    stack.start_verifier(Implementation::Ours).unwrap();
}

#[test]
fn a_revocation_waits_until_the_broker_believes_the_verifier_and_is_believed() {
    keylime_pki::install_crypto_provider();
    let authority = BrokerAuthority::found();
    let broker = RabbitMq::start_with_tls(&authority.files()).unwrap();
    let subscriber = Subscriber::start(&broker.url()).unwrap();
    let amqp = vec![option("enabled_revocation_notifications", "['amqp']"), option("amqp_url", broker.tls_url())];
    let trusting =
        [amqp.clone(), vec![option("amqp_trusted_server_ca", format!("['{}']", shown(&authority.file("cacert.crt"))))]]
            .concat();

    // The broker's authority is not the verifier's.
    let mut stack = Stack::prepare(|settings| settings.revocations = amqp).unwrap();
    stack.start_all(Implementation::Ours, Implementation::Ours).unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let added =
        stack.tenant(Implementation::Ours, &["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy]).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(1)).unwrap();
    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    stack.verifier.as_mut().unwrap().wait_for_output("invalid peer certificate", LIMIT).unwrap();

    // The verifier shows no certificate, then one that the broker's authority did not sign.
    restart(&mut stack, trusting.clone());
    stack.verifier.as_mut().unwrap().wait_for_output("notifier is away", LIMIT).unwrap();
    restart(&mut stack, [trusting.clone(), vec![option("amqp_client_cert", "default")]].concat());
    stack.verifier.as_mut().unwrap().wait_for_output("notifier is away", LIMIT).unwrap();
    assert!(subscriber.next(Duration::ZERO).is_none(), "{}", stack.logs());

    let own = vec![
        option("amqp_client_cert", shown(&authority.file("verifier-cert.crt"))),
        option("amqp_client_key", shown(&authority.file("verifier-private.pem"))),
        option("amqp_client_key_password", KEY_PASSWORD),
    ];
    restart(&mut stack, [trusting, own].concat());
    let id = stack.settings.agent_id.clone();
    assert!(subscriber.wait_for(&id, LIMIT).is_some(), "{}", stack.logs());
}
