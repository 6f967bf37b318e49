//! Options, set to other values than their defaults, seen from outside on running programs. What the configuration readers make
//! of each option of the servers is in `gateway/tests/option_table.rs`; what has tests of its own is named in `catalogue.rs`.

mod agent;
mod agent_in_the_clear;
mod agent_revocations;
mod authority;
mod catalogue;
mod lines;
mod push;
mod push_agent;
#[path = "../push_site/mod.rs"]
mod push_site;
mod registrar;
mod retries;
mod tenant;
mod verifier;
mod visitors;

use bytes::Bytes;
use keylime_bench::fleet::agent_number::AgentNumber;
use keylime_bench::fleet::fleet_keys::FleetKeys;
use keylime_bench::fleet::options::AttestationKeyKind;
use keylime_bench::fleet::rest_client::{Exchange, RestClient, Target};
use keylime_harness::child::Guarded;
use keylime_harness::configuration::{self, Settings};
use keylime_harness::{binaries, ports};
use keylime_pki::tls::{self, ServerTrust};
use reqwest::Method;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

const START_LIMIT: Duration = Duration::from_secs(60);
/// Time a busy machine may add to what an option asks for.
const SLACK: Duration = Duration::from_secs(4);
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
