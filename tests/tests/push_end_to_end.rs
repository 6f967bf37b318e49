//! Push attestation over real HTTPS: a scripted agent with a software TPM proves itself to our verifier, and everything that
//! is not its own fresh evidence is refused or fails.

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
struct Site {
    stack: Stack,
    agent_side: Arc<ClientConfig>,
    admin_side: Arc<ClientConfig>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn code(&self) -> &str {
        self.body.pointer("/errors/0/code").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Site {
    fn start(options: &[(&str, &str)]) -> Self {
        let mut stack = Stack::prepare(|settings| {
            settings.verifier = vec![("mode".into(), "push".into()), ("quote_interval".into(), "1".into())];
            settings.verifier.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
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

    fn ask(&self, side: &Arc<ClientConfig>, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
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

    fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(&self.admin_side, method, path, &[], body)
    }

    fn agent(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Content-Type", "application/vnd.api+json"), ("Authorization", bearer.as_str())];
        self.ask(&self.agent_side, method, path, &headers, &body.to_string())
    }

    fn enrol(&self, agent: &str, machine: &PushMachine, allowed: &[(&str, &[u8])]) {
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

    /// Proves possession of the machine's key and answers the token.
    fn token(&self, agent: &str, machine: &mut PushMachine) -> String {
        let json = [("Content-Type", "application/vnd.api+json")];
        let ask =
            |method: &str, path: &str, body: &Value| self.ask(&self.agent_side, method, path, &json, &body.to_string());
        let supported = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop"}]);
        let attributes = json!({"agent_id": agent, "authentication_supported": supported});
        let opened = ask("POST", "/v3.0/sessions", &json!({"data": {"type": "session", "attributes": attributes}}));
        assert_eq!(opened.status, 200, "{opened:?}");
        let id = opened.body["data"]["id"].as_str().unwrap();
        let path = "/data/attributes/authentication_requested/0/chosen_parameters/challenge";
        let challenge = STANDARD.decode(opened.body.pointer(path).unwrap().as_str().unwrap()).unwrap();
        let proof = machine.prove_possession(&challenge).unwrap();
        let data = json!({"message": STANDARD.encode(proof.attest), "signature": STANDARD.encode(proof.signature)});
        let provided = json!([{"authentication_class": "pop", "authentication_type": "tpm_pop", "data": data}]);
        let attributes = json!({"agent_id": agent, "authentication_provided": provided});
        let body = json!({"data": {"type": "session", "id": id, "attributes": attributes}});
        let proved = ask("PATCH", &format!("/v3.0/sessions/{id}"), &body);
        assert_eq!(proved.body["data"]["attributes"]["evaluation"], "pass", "{proved:?}");
        proved.body["data"]["attributes"]["token"].as_str().unwrap().to_owned()
    }

    fn open(&self, agent: &str, token: &str, machine: &PushMachine) -> (String, Wanted) {
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
    fn verdict(&self, location: &str) -> (String, Value) {
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

    fn status(&self, agent: &str) -> Value {
        self.admin("GET", &format!("/v2.5/agents/{agent}"), "").body["results"].clone()
    }
}

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
