//! The agent's program on a software TPM: registration with a registrar that makes a real credential challenge, quotes over
//! mTLS that the verification core checks, key delivery, payload, restart, stop.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::identity::credential_challenge::{
    CHALLENGE_ENTROPY_BYTES, CredentialChallenge, SEAL_ENTROPY_BYTES,
};
use keylime_engine::identity::endorsement_key::EndorsementKey;
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::data_pcr::extended_once;
use keylime_engine::tpm::quote::{ExpectedNonce, Quote, QuoteEncoding, QuoteExpectation, QuoteParts, verify};
use keylime_engine::tpm::verified::Verified;
use keylime_harness::child::Guarded;
use keylime_harness::ports;
use keylime_harness::swtpm::{Manufacture, SoftwareTpm};
use keylime_pki::tls::{Identity, ServerTrust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const AGENT_ID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";
const NONCE: &str = "abcdefghij0123456789";
const LIMIT: Duration = Duration::from_secs(60);

/// What the stub registrar knows.
#[derive(Default)]
struct Registration {
    body: Value,
    challenge: Option<CredentialChallenge>,
    activations: usize,
}

#[derive(Clone, Default)]
struct StubRegistrar(Arc<Mutex<Registration>>);

impl Respond for StubRegistrar {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut registration = self.0.lock().unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let success = |results: Value| {
            ResponseTemplate::new(200).set_body_json(json!({ "code": 200, "status": "Success", "results": results }))
        };
        assert!(request.headers.contains_key("X-Request-ID"));
        match request.method.as_str() {
            "POST" => {
                let challenge = CredentialChallenge::mint(&random::<CHALLENGE_ENTROPY_BYTES>()).unwrap();
                let ek = EndorsementKey::from_base64(body["ek_tpm"].as_str().unwrap()).unwrap();
                let ak = AttestationKey::from_base64(body["aik_tpm"].as_str().unwrap()).unwrap();
                let blob = challenge.seal(&ek, &ak, &random::<SEAL_ENTROPY_BYTES>()).unwrap();
                registration.challenge = Some(challenge);
                registration.body = body;
                success(json!({ "blob": STANDARD.encode(blob) }))
            }
            "PUT" => {
                let id = AgentId::parse(AGENT_ID).unwrap();
                let challenge = registration.challenge.take().unwrap();
                challenge.check_auth_tag(&id, body["auth_tag"].as_str().unwrap()).unwrap();
                registration.activations += 1;
                success(json!({}))
            }
            other => panic!("unexpected method {other}"),
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// An agent with everything it needs.
struct Place {
    directory: tempfile::TempDir,
    tpm: SoftwareTpm,
    registrar: MockServer,
    registrations: StubRegistrar,
    authority: CertifiedIssuer<'static, KeyPair>,
    port: u16,
}

impl Place {
    async fn prepare() -> Self {
        keylime_pki::install_crypto_provider();
        let registrations = StubRegistrar::default();
        let registrar = MockServer::start().await;
        let versions = json!({ "code": 200, "status": "Success",
            "results": { "current_version": "2.6", "supported_versions": ["2.5", "2.6", "3.0"] } });
        Mock::given(method("GET"))
            .and(path("/version"))
            .respond_with(ResponseTemplate::new(200).set_body_json(versions))
            .mount(&registrar)
            .await;
        Mock::given(path(format!("/v2.6/agents/{AGENT_ID}")))
            .respond_with(registrations.clone())
            .mount(&registrar)
            .await;

        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
        let line = format!("10 {} ima-ng sha256:{} /f\n", "0".repeat(40), "0".repeat(64));
        std::fs::write(directory.path().join("ima"), line.repeat(2)).unwrap();
        std::fs::write(directory.path().join("boot"), b"boot log").unwrap();
        let tpm = SoftwareTpm::start(Manufacture::WithEkCertificate).unwrap();
        Self { directory, tpm, registrar, registrations, authority, port: ports::free() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the program and waits until it listens.
    fn start(&self, further: &[(&str, &str)]) -> Guarded {
        let program = env!("CARGO_BIN_EXE_keylime_agent");
        // The secure mount needs privileges; a namespace of its own gives them to any user.
        let mut command = if nix::unistd::Uid::effective().is_root() {
            Command::new(program)
        } else {
            let mut command = Command::new("unshare");
            command.args(["--user", "--mount", "--map-root-user", program]);
            command
        };
        let registrar_port = self.registrar.address().port().to_string();
        let port = self.port.to_string();
        let config = self.path("agent.conf");
        std::fs::write(&config, "[agent]\ntrusted_client_ca = \"ca.crt\"\nrun_as = \"\"\n").unwrap();
        command
            .env("KEYLIME_AGENT_CONFIG", config)
            .env("KEYLIME_DIR", self.directory.path())
            .env("TCTI", self.tpm.tcti());
        for (name, value) in [("PORT", &port), ("CONTACT_PORT", &port), ("REGISTRAR_PORT", &registrar_port)] {
            command.env(format!("KEYLIME_AGENT_{name}"), value);
        }
        command.env("KEYLIME_AGENT_IMA_ML_PATH", self.path("ima"));
        command.env("KEYLIME_AGENT_MEASUREDBOOT_ML_PATH", self.path("boot"));
        command.envs(further.iter().map(|(name, value)| (format!("KEYLIME_AGENT_{name}"), value)));
        let mut agent = Guarded::spawn("agent", &mut command, &self.path("log")).unwrap();
        agent.wait_for_output("Listening on", LIMIT).unwrap();
        agent
    }

    /// A client with a certificate of the trusted authority that trusts just the agent's certificate.
    fn client(&self) -> reqwest::Client {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().signed_by(&pair, &self.authority).unwrap();
        let identity = Identity { certs: vec![certificate.der().clone()], key: pair.into() };
        self.client_with(Some(identity))
    }

    fn client_with(&self, identity: Option<Identity>) -> reqwest::Client {
        let registered = self.registrations.0.lock().unwrap().body["mtls_cert"].as_str().unwrap().to_owned();
        let exact = CertificateDer::from_pem_slice(registered.as_bytes()).unwrap();
        let authorities = vec![self.authority.der().clone()];
        let trust = ServerTrust::AuthoritiesOrExact { authorities, exact };
        let tls = keylime_pki::tls::client(identity, trust).unwrap();
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
    }

    /// Clients that trust the agent and are trusted by nobody: without a certificate, and with one they made themselves.
    fn strangers(&self) -> [reqwest::Client; 2] {
        let foreign = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&foreign).unwrap();
        let identity = Identity { certs: vec![certificate.der().clone()], key: foreign.into() };
        [self.client_with(None), self.client_with(Some(identity))]
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> Value {
        let url = format!("https://127.0.0.1:{}/v2.6{path}", self.port);
        let answer: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], 200, "{answer}");
        answer["results"].clone()
    }

    /// Lets the verification core check a quote, and answers its PCRs.
    fn check(&self, results: &Value, public_key: &str) -> Vec<u8> {
        let quote = self.verified(results);
        let bound = extended_once(HashAlgorithm::Sha256, public_key.as_bytes());
        assert_eq!(quote.pcrs.get(16), Some(&bound));
        quote.pcrs.iter().map(|(index, _)| index).collect()
    }

    /// The value of a PCR in a quote.
    fn pcr(&self, results: &Value, index: u8) -> Option<Digest> {
        self.verified(results).pcrs.get(index).cloned()
    }

    fn verified(&self, results: &Value) -> Verified<Quote> {
        let registration = self.registrations.0.lock().unwrap();
        let ak = AttestationKey::from_base64(registration.body["aik_tpm"].as_str().unwrap()).unwrap();
        let parts = QuoteParts::decode(results["quote"].as_str().unwrap(), QuoteEncoding::Plain).unwrap();
        let expected = QuoteExpectation { nonce: ExpectedNonce::Text(NONCE), hash_alg: "sha256" };
        verify(&parts, &ak, &expected).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The agent's mount outlives it, as the reference's does.
        let _ = nix::mount::umount(&self.directory.path().join("secure"));
    }
}

fn wait_for(what: &Path) {
    let start = Instant::now();
    while !what.exists() {
        assert!(start.elapsed() < LIMIT, "{} does not appear", what.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_quotes_and_keeps_its_keys() {
    let place = Place::prepare().await;
    let mut agent = place.start(&[]);
    let first = {
        let registration = place.registrations.0.lock().unwrap();
        assert_eq!(registration.activations, 1);
        registration.body.clone()
    };
    assert!(first["ekcert"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!((&first["port"], &first["iak_cert"]), (&json!(place.port), &Value::Null));

    let client = place.client();
    let identity = place.get(&client, &format!("/quotes/identity?nonce={NONCE}")).await;
    let public_key = identity["pubkey"].as_str().unwrap().to_owned();
    assert_eq!(place.check(&identity, &public_key), [16]);
    let query = format!("/quotes/integrity?nonce={NONCE}&mask=0x401&partial=1&ima_ml_entry=1");
    let integrity = place.get(&client, &query).await;
    assert_eq!(place.check(&integrity, &public_key), [0, 10, 16]);
    assert_eq!(integrity["ima_measurement_list_entry"], 1);
    assert_eq!(integrity["ima_measurement_list"].as_str().unwrap().lines().count(), 1);
    assert_eq!(integrity["mb_measurement_list"], STANDARD.encode(b"boot log"));
    assert!(integrity.get("pubkey").is_none());

    // Nobody without a certificate of the trusted authority gets an answer.
    let url = format!("https://127.0.0.1:{}/version", place.port);
    for stranger in place.strangers() {
        assert!(stranger.get(&url).send().await.is_err());
    }

    // A second run has the same keys, on a TPM that has room for them again.
    assert_eq!(agent.terminate(Duration::from_secs(10)).unwrap(), Some(0));
    let _agent = place.start(&[]);
    let second = place.registrations.0.lock().unwrap().body.clone();
    assert_eq!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_key_and_payload() {
    let place = Place::prepare().await;
    let agent = place.start(&[("MEASURE_PAYLOAD_PCR", "23")]);
    let client = place.client();
    let public_key = place.get(&client, "/keys/pubkey").await["pubkey"].as_str().unwrap().to_owned();

    let (k, v) = (random::<32>(), random::<32>());
    let u = k.iter().zip(v).map(|(k, v)| k ^ v).collect::<Vec<_>>();
    let sign = |data: &[u8]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA384, &k);
        hex::encode(aws_lc_rs::hmac::sign(&key, data))
    };
    let script = "#!/bin/sh\ncp derived_tci_key ../../ran\n";
    let plaintext = zip(&[("autorun.sh", script), ("data", "x")]);
    let payload = keylime_pki::payload_cipher::seal(&k, &plaintext).unwrap();
    let post = async |path: &str, body: Value| {
        let url = format!("https://127.0.0.1:{}/v2.6{path}", place.port);
        let answer: Value = client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer, json!({ "code": 200, "status": "Success", "results": null }));
    };
    let ukey =
        json!({ "auth_tag": sign(AGENT_ID.as_bytes()), "encrypted_key": oaep(&public_key, &u), "payload": payload });
    post("/keys/ukey", ukey).await;
    let url = format!("https://127.0.0.1:{}/v2.6/keys/verify?challenge={NONCE}", place.port);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 400);
    post("/keys/vkey", json!({ "encrypted_key": oaep(&public_key, &v) })).await;
    let proof = place.get(&client, &format!("/keys/verify?challenge={NONCE}")).await;
    assert_eq!(proof["hmac"], sign(NONCE.as_bytes()));

    wait_for(&place.path("ran"));
    assert_eq!(std::fs::read(place.path("ran")).unwrap(), k, "{}", agent.output());
    assert_eq!(std::fs::read(place.path("secure/unzipped/data")).unwrap(), b"x");
    let quote = place.get(&client, &format!("/quotes/identity?nonce={NONCE}")).await;
    assert_eq!(place.check(&quote, &public_key), [16]);
    let quote = place.get(&client, &format!("/quotes/integrity?nonce={NONCE}&mask=0x800000&partial=1")).await;
    assert_eq!(place.pcr(&quote, 23), Some(extended_once(HashAlgorithm::Sha256, &plaintext)), "{}", agent.output());
}

/// Who knows an agent's id and its public key can make both key shares and a payload that runs as root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2021_43310_nobody_delivers_keys_without_a_certificate() {
    let place = Place::prepare().await;
    let _agent = place.start(&[]);
    let administrator = place.client();
    let public_key = place.get(&administrator, "/keys/pubkey").await["pubkey"].as_str().unwrap().to_owned();
    let (k, v) = ([3; 32], [1; 32]);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA384, &k);
    let auth_tag = hex::encode(aws_lc_rs::hmac::sign(&key, AGENT_ID.as_bytes()));
    let script = zip(&[("autorun.sh", "#!/bin/sh\ntouch ../../ran\n")]);
    let payload = keylime_pki::payload_cipher::seal(&k, &script).unwrap();
    let shares = [
        ("ukey", json!({ "auth_tag": auth_tag, "encrypted_key": oaep(&public_key, &[2; 32]), "payload": payload })),
        ("vkey", json!({ "encrypted_key": oaep(&public_key, &v) })),
    ];
    let revocation = ("notifications/revocation", json!({ "msg": "{}", "signature": "" }));
    let paths = shares.iter().map(|(share, body)| (format!("keys/{share}"), body));
    for (path, body) in paths.chain([(revocation.0.to_owned(), &revocation.1)]) {
        let address = format!("127.0.0.1:{}/v2.6/{path}", place.port);
        assert!(reqwest::Client::new().post(format!("http://{address}")).json(body).send().await.is_err(), "{path}");
        for stranger in place.strangers() {
            assert!(stranger.post(format!("https://{address}")).json(body).send().await.is_err(), "{path}");
        }
    }
    // The agent waits for its key as before, and nothing ran.
    let url = format!("https://127.0.0.1:{}/v2.6/keys/verify?challenge={NONCE}", place.port);
    assert_eq!(administrator.get(&url).send().await.unwrap().status(), 400);
    assert!(!place.path("ran").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speaks_plain_http_without_payloads_when_mtls_is_off() {
    let place = Place::prepare().await;
    let options = [
        ("ENABLE_AGENT_MTLS", "false"),
        ("PAYLOAD_SCRIPT", ""),
        ("TPM_ENCRYPTION_ALG", "ecc"),
        ("TPM_SIGNING_ALG", "ecdsa"),
    ];
    let _agent = place.start(&options);
    assert_eq!(place.registrations.0.lock().unwrap().body["mtls_cert"], "disabled");
    let url = format!("http://127.0.0.1:{}/v2.4/quotes/identity?nonce={NONCE}", place.port);
    let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!((&answer["results"]["enc_alg"], &answer["results"]["sign_alg"]), (&json!("ecc"), &json!("ecdsa")));
    let public_key = answer["results"]["pubkey"].as_str().unwrap();
    assert_eq!(place.check(&answer["results"], public_key), [16]);
}

/// A killed agent leaves its key loaded, and a TPM without resource manager has three places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comes_back_with_its_key_however_often_it_is_killed() {
    let place = Place::prepare().await;
    let options = [("TPM_ENCRYPTION_ALG", "ecc"), ("TPM_SIGNING_ALG", "ecdsa")];
    let (mut keys, mut made_room) = (Vec::new(), false);
    for _ in 0..5 {
        let mut agent = place.start(&options);
        keys.push(place.registrations.0.lock().unwrap().body["aik_tpm"].clone());
        agent.kill();
        made_room |= agent.output().contains("tpm was full");
        std::fs::remove_file(place.path("log")).unwrap();
    }
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert!(made_room);
}

/// Root starts the agent, which becomes somebody else and keeps working: its keys, its mount, its answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_privileges_for_good() {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "dropping privileges can only be tested by root; run this as root"
    );
    let place = Place::prepare().await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(place.directory.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
    let agent = place.start(&[("RUN_AS", "nobody:nogroup")]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let ids = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(|id| id.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((ids("Uid:"), ids("Gid:")), (vec![nobody.uid.as_raw(); 4], vec![nobody.gid.as_raw(); 4]));
    assert!(!ids("Groups:").contains(&0), "{status}");
    let identity = place.get(&place.client(), &format!("/quotes/identity?nonce={NONCE}")).await;
    place.check(&identity, identity["pubkey"].as_str().unwrap());
    let mount = std::fs::metadata(place.path("secure")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((mount.uid(), mount.mode() & 0o777), (nobody.uid.as_raw(), 0o700));
}

fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn oaep(public_pem: &str, plaintext: &[u8]) -> String {
    use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
    let der = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(public_pem.as_bytes()).unwrap();
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).unwrap()).unwrap();
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let ciphertext = key.encrypt(&OAEP_SHA1_MGF1SHA1, plaintext, &mut ciphertext, None).unwrap();
    STANDARD.encode(ciphertext)
}
