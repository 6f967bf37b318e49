//! Options, set to other values than their defaults, seen from outside on running servers. What the configuration readers make
//! of each option is in `gateway/tests/option_table.rs`; what has tests of its own, such as `mode`, is not repeated here.

use bytes::Bytes;
use keylime_bench::fleet::agent_number::AgentNumber;
use keylime_bench::fleet::fleet_keys::FleetKeys;
use keylime_bench::fleet::options::AttestationKeyKind;
use keylime_bench::fleet::registration::{Applicant, register_all};
use keylime_bench::fleet::rest_client::{Exchange, RestClient, Target};
use keylime_bench::soft_tpm::Manufacturer;
use keylime_harness::child::Guarded;
use keylime_harness::configuration::{self, Settings};
use keylime_harness::{binaries, ports};
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use keylime_pki::tls::{self, ServerTrust};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

const START_LIMIT: Duration = Duration::from_secs(60);
/// Time a busy machine may add to what an option asks for.
const SLACK: Duration = Duration::from_secs(4);
const VERIFIER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const REGISTRAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const KEY_PASSWORD: &str = "of the key";

fn option(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// A server in a directory of its own.
struct Server {
    process: Guarded,
    settings: Settings,
    dir: TempDir,
}

fn settings() -> Settings {
    Settings {
        verifier_port: ports::free(),
        registrar_port: ports::free(),
        registrar_tls_port: ports::free(),
        agent_port: ports::free(),
        agent_id: "d432fbb3-d2f1-4a97-9ef7-75bd81c00000".to_owned(),
        quote_interval: 1.0,
        verifier: Vec::new(),
        registrar: Vec::new(),
        revocations: Vec::new(),
        tenant: Vec::new(),
        agent: Vec::new(),
    }
}

fn command(dir: &Path, name: &str) -> Command {
    let mut command = Command::new(binaries::path(name));
    command.current_dir(dir).env("KEYLIME_DIR", dir).env_remove("RUST_LOG").env_remove("KEYLIME_TEST");
    for component in ["verifier", "registrar", "tenant", "ca", "logging"] {
        command.env(format!("KEYLIME_{}_CONFIG", component.to_uppercase()), dir.join(format!("{component}.conf")));
    }
    command
}

impl Server {
    /// Starts it and waits until it listens at the last of these addresses.
    fn start(name: &str, dir: TempDir, settings: Settings, address: SocketAddr) -> Self {
        keylime_pki::install_crypto_provider();
        configuration::write(dir.path(), &settings).unwrap();
        let mut process = Guarded::spawn(name, &mut command(dir.path(), name), &dir.path().join("log")).unwrap();
        process.wait_until(START_LIMIT, || TcpStream::connect(address).is_ok()).unwrap();
        Self { process, settings, dir }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The HTTPS port, with the certificate of this name out of a directory of an authority.
    fn https(&self, address: SocketAddr, authority: &str, client: Option<(&str, Option<&str>)>) -> Target {
        let certificates = tls::load_certificates(&self.file(&format!("{authority}/cacert.crt"))).unwrap();
        let identity = client.map(|(name, password)| {
            let file = |suffix: &str| self.file(&format!("{name}-{suffix}"));
            tls::load_identity(&file("cert.crt"), &file("private.pem"), password).unwrap()
        });
        let config = tls::client(identity, ServerTrust::Authorities(certificates)).unwrap();
        Target { address, tls: Some(TlsConnector::from(Arc::new(config))) }
    }
}

async fn ask(target: &Target, method: Method, path: &str, body: impl Into<Bytes>) -> Exchange {
    RestClient::new(target.clone()).exchange(method, path, None, body.into()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_verifier_listens_and_what_it_shows_and_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    let mut authority = Authority::init(&dir.path().join("own"), &subject, "password").unwrap();
    authority.issue("front", &[], &[IpAddr::V4(VERIFIER_ADDRESS)], Some(KEY_PASSWORD)).unwrap();
    authority.issue("to-agents", &[], &[], Some(KEY_PASSWORD)).unwrap();
    let mut other = Authority::init(&dir.path().join("administrators"), &subject, "password").unwrap();
    other.issue("admin", &[], &[], None).unwrap();
    let (metrics, mut settings) = (ports::free(), settings());
    let database = dir.path().join("elsewhere.sqlite");
    settings.verifier = vec![
        option("ip", VERIFIER_ADDRESS),
        option("uuid", "second"),
        option("tls_dir", "own"),
        option("server_cert", "front-cert.crt"),
        option("server_key", "front-private.pem"),
        option("server_key_password", KEY_PASSWORD),
        option("client_cert", "to-agents-cert.crt"),
        option("client_key", "to-agents-private.pem"),
        option("client_key_password", KEY_PASSWORD),
        option("trusted_server_ca", "['cacert.crt']"),
        option("trusted_client_ca", format!("['{}']", dir.path().join("administrators/cacert.crt").display())),
        option("authorization_provider", "ldap"),
        option("database_url", format!("sqlite:///{}", database.display())),
        option("max_upload_size", "3000"),
        option("metrics_listen", format!("127.0.0.1:{metrics}")),
        option("shutdown_drain_timeout", "1"),
    ];
    let address = SocketAddr::from((VERIFIER_ADDRESS, settings.verifier_port));
    let mut server = Server::start("keylime_verifier", dir, settings, address);

    assert!(TcpStream::connect(("127.0.0.1", address.port())).is_err(), "ip");
    assert!(database.is_file() && !server.file("cv_data.sqlite").exists(), "database_url");
    assert!(!server.file("cv_ca").exists(), "tls_dir");
    assert!(server.process.output().contains("Unknown authorization_provider 'ldap'"), "authorization_provider");
    let ready = Target { address: SocketAddr::from(([127, 0, 0, 1], metrics)), tls: None };
    server.process.wait_until(START_LIMIT, || TcpStream::connect(ready.address).is_ok()).unwrap();
    assert_eq!(ask(&ready, Method::GET, "/readyz", "").await.status, 200, "metrics_listen");

    // The handshake succeeds with the named certificate only: its authority and its address are checked.
    let admin = server.https(address, "own", Some(("administrators/admin", None)));
    assert_eq!(ask(&admin, Method::GET, "/v2.5/agents/", "").await.status, 200, "trusted_client_ca");
    let stranger = server.https(address, "own", Some(("own/to-agents", Some(KEY_PASSWORD))));
    let refused = RestClient::new(stranger).exchange(Method::GET, "/v2.5/agents/", None, Bytes::new()).await;
    assert!(refused.is_err() || refused.unwrap().status == 403, "trusted_client_ca");
    let policy = |size: usize| json!({ "mb_policy": "x".repeat(size) }).to_string();
    let (long, short) = (policy(4000), policy(2000));
    assert_eq!(ask(&admin, Method::POST, "/v2.5/mbpolicies/a", long).await.status, 400, "max_upload_size");
    assert_eq!(ask(&admin, Method::POST, "/v2.5/mbpolicies/b", short).await.status, 201, "max_upload_size");

    let mut request = enrolment(9, &sample_key());
    request["mtls_cert"] = fs::read_to_string(server.file("own/front-cert.crt")).unwrap().into();
    let enrolled = ask(&admin, Method::POST, "/v2.5/agents/one", request.to_string()).await;
    assert_eq!(enrolled.status, 200, "{}", String::from_utf8_lossy(&enrolled.body));
    let record = ask(&admin, Method::GET, "/v2.5/agents/one", "").await;
    let record: Value = serde_json::from_slice(&record.body).unwrap();
    assert_eq!(record["results"]["verifier_id"], "second", "uuid");

    // A request that never ends is given up after the drain timeout, not after the default of ten seconds.
    let config = admin.tls.clone().unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::IpAddress(IpAddr::V4(VERIFIER_ADDRESS).into());
    let mut stream = config.connect(name, stream).await.unwrap();
    let head = "POST /v2.5/mbpolicies/c HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopping = Instant::now();
    let code = tokio::task::block_in_place(|| server.process.terminate(START_LIMIT)).unwrap();
    let took = stopping.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(1) + SLACK, "shutdown_drain: {took:?}");
    assert_eq!(code, Some(0));
}

/// A P-256 attestation key.
fn sample_key() -> String {
    use base64::Engine as _;
    let keys = FleetKeys::generate(AttestationKeyKind::P256).unwrap();
    base64::engine::general_purpose::STANDARD.encode(keys.attestation(AgentNumber(0)).public())
}

fn enrolment(port: u16, key: &str) -> Value {
    json!({
        "v": "", "cloudagent_ip": "127.0.0.1", "cloudagent_port": port, "tpm_policy": "{\"mask\": \"0x0\"}",
        "runtime_policy": "", "runtime_policy_name": "", "runtime_policy_key": "", "mb_policy": null, "mb_policy_name": null,
        "ima_sign_verification_keys": "", "metadata": "{}", "revocation_key": "", "accept_tpm_hash_algs": ["sha256"],
        "accept_tpm_encryption_algs": ["ecc"], "accept_tpm_signing_algs": ["ecdsa"], "ak_tpm": key, "mtls_cert": "",
        "supported_version": "2.5",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_registrar_listens_and_whom_it_takes() {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.registrar = vec![
        option("ip", REGISTRAR_ADDRESS),
        option("tls_dir", "generate"),
        option("server_key_password", KEY_PASSWORD),
        option("cert_subject_alternative_names", "registrar.example.org, 192.0.2.77"),
        option("trusted_client_ca", "default"),
        option("database_url", format!("sqlite:///{}", dir.path().join("elsewhere.sqlite").display())),
        option("tpm_identity", "iak_idevid"),
        option("max_upload_size", "3000"),
    ];
    // The certificates that the registrar trusts by default are the verifier's.
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    let mut authority = Authority::init(&dir.path().join("cv_ca"), &subject, "password").unwrap();
    authority.issue("client", &[], &[], None).unwrap();
    let address = SocketAddr::from((REGISTRAR_ADDRESS, settings.registrar_tls_port));
    let plain = SocketAddr::from((REGISTRAR_ADDRESS, settings.registrar_port));
    let mut server = Server::start("keylime_registrar", dir, settings, address);

    for port in [address.port(), plain.port()] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "ip");
    }
    assert!(server.file("elsewhere.sqlite").is_file(), "database_url");
    let key = fs::read_to_string(server.file("reg_ca/server-private.pem")).unwrap();
    assert!(key.contains("ENCRYPTED PRIVATE KEY"), "server_key_password");
    let certificate = &tls::load_certificates(&server.file("reg_ca/server-cert.crt")).unwrap()[0];
    let names = |text: &[u8]| certificate.windows(text.len()).any(|window| window == text);
    assert!(names(b"registrar.example.org") && names(&[192, 0, 2, 77]), "cert_subject_alternative_names");
    let admin = server.https(address, "reg_ca", Some(("cv_ca/client", None)));
    assert_eq!(ask(&admin, Method::GET, "/v2.5/agents/", "").await.status, 200, "trusted_client_ca");

    let keys = FleetKeys::generate(AttestationKeyKind::P256).unwrap();
    let maker = Manufacturer::found("options").unwrap();
    let applicant = || vec![Applicant::new(AgentNumber(0), &keys, &maker).unwrap()];
    let registrar = Target { address: plain, tls: None };
    let refused = register_all(&registrar, applicant(), 1).await.unwrap_err().to_string();
    assert!(refused.contains("400") || refused.contains("403"), "tpm_identity: {refused}");
    let listed = ask(&admin, Method::GET, "/v2.5/agents/", "").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&AgentNumber(0).to_string()), "tpm_identity");
    assert_eq!(tokio::task::block_in_place(|| server.process.terminate(START_LIMIT)).unwrap(), Some(0));

    // With the default it is taken, after a restart with the same database and certificates.
    server.settings.registrar.retain(|(name, _)| name != "tpm_identity");
    let Server { settings, dir, .. } = server;
    let server = Server::start("keylime_registrar", dir, settings, address);
    register_all(&registrar, applicant(), 1).await.unwrap();
    let admin = server.https(address, "reg_ca", Some(("cv_ca/client", None)));
    let listed = ask(&admin, Method::GET, "/v2.5/agents/", "").await;
    assert!(String::from_utf8_lossy(&listed.body).contains(&AgentNumber(0).to_string()));
}

#[test]
fn without_leave_to_change_it_an_empty_database_stays_empty() {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.verifier = vec![option("auto_migrate_db", "False")];
    configuration::write(dir.path(), &settings).unwrap();
    let ended = keylime_harness::child::run(&mut command(dir.path(), "keylime_verifier"), START_LIMIT).unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("auto_migrate_db"), "{said}");
}
