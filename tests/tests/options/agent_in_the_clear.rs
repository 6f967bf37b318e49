//! `agent.conf`: an agent without TLS, whose payload is measured.

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::pcr_blob::read_bank;
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use keylime_harness::ima_log;
use keylime_harness::stack::{Implementation, Stack};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);
const PAYLOAD: &[u8] = b"a payload that is measured";
const PCR: u8 = 15;

fn ask(port: u16, path: &str) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn payloads_need_leave_and_are_measured_where_that_is_asked_for() {
    let mut stack = Stack::prepare(|settings| {
        let clear = vec![("enable_agent_mtls".to_owned(), "False".to_owned())];
        (settings.verifier, settings.tenant) = (clear.clone(), clear);
        settings.agent = [
            ("enable_agent_mtls", "false"),
            ("enable_insecure_payload", "false"),
            ("extract_payload_zip", "false"),
            ("measure_payload_pcr", "\"15\""),
            ("tpm_hash_alg", "\"sha384\""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    })
    .unwrap();
    stack.start_verifier(Implementation::Ours).unwrap();
    stack.start_registrar(Implementation::Ours).unwrap();
    let refused = stack.start_agent().unwrap_err().to_string();
    assert!(refused.contains("enable_insecure_payload"), "{refused}");
    let file = stack.dir().join("agent.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("enable_insecure_payload = false", "enable_insecure_payload = true")).unwrap();
    stack.start_agent().unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));

    let payload = stack.dir().join("payload");
    fs::write(&payload, PAYLOAD).unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let payload = payload.display().to_string();
    let arguments = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy, "-f", &payload, "--verify"];
    let added = stack.tenant(Implementation::Ours, &arguments).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    let (delivered, begun) = (stack.dir().join("agent/secure/unzipped/decrypted_payload"), Instant::now());
    while !delivered.exists() {
        assert!(begun.elapsed() < LIMIT, "no payload\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(100));
    }

    let mask = format!("{:#x}", 1_u32 << PCR);
    let path = format!("/v2.5/quotes/integrity?nonce=abcdefghij0123456789&mask={mask}&partial=1");
    let answer = ask(stack.settings.agent_port, &path);
    assert_eq!(answer["results"]["hash_alg"], "sha384", "tpm_hash_alg: {answer}");
    let quote = answer["results"]["quote"].as_str().unwrap();
    let parts = QuoteParts::decode(quote, QuoteEncoding::Plain).unwrap();
    let bank = read_bank(&parts.pcr_blob, HashAlgorithm::Sha384).unwrap();
    let measured = HashAlgorithm::Sha384.digest(&[PAYLOAD]);
    let expected = HashAlgorithm::Sha384.digest(&[&[0; 48], measured.as_bytes()]);
    assert_eq!(bank.get(PCR), Some(&expected), "measure_payload_pcr");
}
