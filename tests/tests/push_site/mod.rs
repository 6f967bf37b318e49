//! A verifier that push agents come to, and a scripted agent's requests to it over real HTTPS.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_bench::push_machine::{PushMachine, Wanted};
use keylime_harness::ima_log;
use keylime_harness::stack::{Implementation, Stack};
use keylime_pki::tls::{self, ServerTrust};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// A verifier that agents come to.
pub struct Site {
    pub stack: Stack,
    agent_side: Arc<ClientConfig>,
    admin_side: Arc<ClientConfig>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn code(&self) -> &str {
        self.body.pointer("/errors/0/code").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Site {
    pub fn start(options: &[(&str, &str)]) -> Self {
        let mut stack = Stack::prepare(|settings| {
            let defaults = [("mode", "push"), ("quote_interval", "1")];
            let defaults = defaults.iter().filter(|(name, _)| options.iter().all(|(other, _)| other != name));
            let options = defaults.chain(options);
            settings.verifier.extend(options.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        })
        .unwrap();
        stack.start_verifier(Implementation::Ours).unwrap();
        let ca = stack.dir().join("cv_ca");
        let authorities = tls::load_certificates(&ca.join("cacert.crt")).unwrap();
        let identity = tls::load_identity(&ca.join("client-cert.crt"), &ca.join("client-private.pem"), None).unwrap();
        let trust = || ServerTrust::Authorities(authorities.clone());
        Self {
            agent_side: Arc::new(tls::client(None, trust()).unwrap()),
            admin_side: Arc::new(tls::client(Some(identity), trust()).unwrap()),
            stack,
        }
    }

    pub fn ask(
        &self,
        side: &Arc<ClientConfig>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let wire = TcpStream::connect(("127.0.0.1", self.stack.settings.verifier_port)).unwrap();
        wire.set_read_timeout(Some(LIMIT)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut wire = StreamOwned::new(ClientConnection::new(Arc::clone(side), name).unwrap(), wire);
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        wire.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Servers may end the connection without saying so.
        let _ = wire.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}\n{}", self.stack.logs()));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }

    pub fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(&self.admin_side, method, path, &[], body)
    }

    pub fn agent(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Content-Type", "application/vnd.api+json"), ("Authorization", bearer.as_str())];
        self.ask(&self.agent_side, method, path, &headers, &body.to_string())
    }

    pub fn enrol(&self, agent: &str, machine: &PushMachine, allowed: &[(&str, &[u8])]) {
        let mut policy = ima_log::policy(allowed);
        // A policy that counts as the tenant's own: only then is a measurement list asked for.
        policy["meta"]["generator"] = 3.into();
        // The machine's firmware measured nothing.
        policy["digests"]["boot_aggregate"] = json!(["0".repeat(64)]);
        let policy = policy.to_string();
        let body = json!({
            "tpm_policy": "{\"mask\": \"0x400\"}", "runtime_policy": STANDARD.encode(policy),
            "runtime_policy_name": null, "runtime_policy_key": null, "mb_policy": null, "mb_policy_name": null,
            "ima_sign_verification_keys": "", "metadata": "{}", "revocation_key": "",
            "accept_tpm_hash_algs": ["sha512", "sha384", "sha256"], "accept_tpm_encryption_algs": ["ecc", "rsa"],
            "accept_tpm_signing_algs": ["ecdsa", "rsassa"], "ak_tpm": machine.ak(), "mtls_cert": null,
            "supported_version": "3.0"});
        let answer = self.admin("POST", &format!("/v2.5/agents/{agent}"), &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn plain(&self, method: &str, path: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/vnd.api+json")];
        self.ask(&self.agent_side, method, path, &json, &body.to_string())
    }

    /// Asks for a session.
    pub fn session(&self, agent: &str) -> Answer {
        let supported = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop"}]);
        let attributes = json!({"agent_id": agent, "authentication_supported": supported});
        self.plain("POST", "/v3.0/sessions", &json!({"data": {"type": "session", "attributes": attributes}}))
    }

    /// Proves possession of the machine's key in an open session.
    pub fn prove(&self, agent: &str, opened: &Answer, machine: &mut PushMachine) -> Answer {
        assert_eq!(opened.status, 200, "{opened:?}");
        let id = opened.body["data"]["id"].as_str().unwrap();
        let path = "/data/attributes/authentication_requested/0/chosen_parameters/challenge";
        let challenge = STANDARD.decode(opened.body.pointer(path).unwrap().as_str().unwrap()).unwrap();
        let proof = machine.prove_possession(&challenge).unwrap();
        let data = json!({"message": STANDARD.encode(proof.attest), "signature": STANDARD.encode(proof.signature)});
        let provided = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop", "data": data}]);
        let attributes = json!({"agent_id": agent, "authentication_provided": provided});
        let body = json!({"data": {"type": "session", "id": id, "attributes": attributes}});
        let proved = self.plain("PATCH", &format!("/v3.0/sessions/{id}"), &body);
        assert_eq!(proved.body["data"]["attributes"]["evaluation"], "pass", "{proved:?}");
        proved
    }

    /// Proves possession of the machine's key and answers the token.
    pub fn token(&self, agent: &str, machine: &mut PushMachine) -> String {
        let proved = self.prove(agent, &self.session(agent), machine);
        proved.body["data"]["attributes"]["token"].as_str().unwrap().to_owned()
    }

    pub fn open(&self, agent: &str, token: &str, machine: &PushMachine) -> (String, Wanted) {
        let path = format!("/v3.0/agents/{agent}/attestations");
        let start = Instant::now();
        loop {
            let answer = self.agent(token, "POST", &path, &machine.capabilities());
            if answer.status == 201 {
                let location = answer.header("location").unwrap().to_owned();
                return (location, Wanted::read(&answer.body).unwrap());
            }
            assert!(matches!(answer.status, 429 | 503), "{answer:?}\n{}", self.stack.logs());
            let seconds = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(start.elapsed() < LIMIT, "{answer:?}");
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }

    /// The evaluation and the reason of an attestation, once it is judged.
    pub fn verdict(&self, location: &str) -> (String, Value) {
        let start = Instant::now();
        loop {
            let answer = self.admin("GET", location, "");
            assert_eq!(answer.status, 200, "{answer:?}");
            let attributes = &answer.body["data"]["attributes"];
            if attributes["stage"] == "verification_complete" {
                return (attributes["evaluation"].as_str().unwrap().to_owned(), attributes["failure_reason"].clone());
            }
            assert!(start.elapsed() < LIMIT, "{answer:?}\n{}", self.stack.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn status(&self, agent: &str) -> Value {
        self.admin("GET", &format!("/v2.5/agents/{agent}"), "").body["results"].clone()
    }
}
