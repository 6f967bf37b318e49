//! `agent.conf`: one agent with none of the defaults, seen by registrar, verifier and in its directory.

use keylime_harness::child::{Guarded, run};
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use zip::write::SimpleFileOptions;

const LIMIT: Duration = Duration::from_secs(90);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const SCRIPT: &str = "#!/bin/sh\ncat enclosed.txt > \"$(dirname \"$0\")/ran\"\n";

fn options(stack_agent: &mut Vec<(String, String)>) {
    let text = |value: &str| format!("\"{value}\"");
    let own = [
        ("ip", text("127.0.0.4")),
        ("contact_ip", text("127.0.0.4")),
        ("uuid", text("hash_ek")),
        ("api_versions", text("2.2, 2.5")),
        ("server_key", text("own-key.pem")),
        ("server_cert", text("own-cert.crt")),
        ("server_key_password", text("of the server")),
        ("payload_key", text("own-payload.pem")),
        ("payload_key_password", text("of the payload")),
        ("agent_data_path", text("own-data.json")),
        ("secure_size", text("3m")),
        ("enc_keyname", text("own_key")),
        ("dec_payload_file", text("own_payload")),
        ("extract_payload_zip", "true".to_owned()),
        ("payload_script", text("own.sh")),
        ("tpm_encryption_alg", text("ecc")),
        ("tpm_signing_alg", text("ecdsa")),
    ];
    stack_agent.extend(own.map(|(name, value)| (name.to_owned(), value)));
}

fn package() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [("own.sh", SCRIPT), ("enclosed.txt", "enclosed")] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn start(stack: &mut Stack) {
    let mut command = stack.command(&binaries::path("keylime_agent"));
    command.env("KEYLIME_DIR", stack.dir().join("agent"));
    let mut child = Guarded::spawn("agent", &mut command, &stack.dir().join("agent.log")).unwrap();
    let port = stack.settings.agent_port;
    child.wait_until(LIMIT, || TcpStream::connect((ADDRESS, port)).is_ok()).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "ip");
    stack.agent = Some(child);
}

/// The id that the registrar knows the agent by.
fn registered(stack: &Stack) -> String {
    let mut command = stack.command(&binaries::path("keylime_tenant"));
    let listed = run(command.args(["-c", "reglist", "--json"]), LIMIT).unwrap();
    let listed: Value = serde_json::from_str(listed.stdout.trim()).unwrap_or_else(|_| panic!("{listed:?}"));
    listed["results"]["agents"][0].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned()
}

#[test]
fn an_agent_with_none_of_the_defaults_is_as_its_options_say() {
    let mut stack = Stack::prepare(|settings| {
        options(&mut settings.agent);
        // The software TPM's certificate is that of another key.
        let options = [("accept_tpm_signing_algs", "['ecdsa']"), ("require_ek_cert", "False")];
        settings.tenant = options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    })
    .unwrap();
    stack.start_verifier(Implementation::Ours).unwrap();
    stack.start_registrar(Implementation::Ours).unwrap();
    stack.start_emulator().unwrap();
    start(&mut stack);
    stack.settings.agent_id = registered(&stack);
    assert!(stack.settings.agent_id.len() == 64, "uuid: {}", stack.settings.agent_id);
    let known = stack.tenant(Implementation::Ours, &["-c", "regstatus", "--json"]).unwrap();
    let known: Value = serde_json::from_str(known.stdout.trim()).unwrap_or_else(|_| panic!("{known:?}"));
    let known = &known["results"]["registrar"][&stack.settings.agent_id];
    assert_eq!((&known["ip"], &known["port"]), (&"127.0.0.4".into(), &stack.settings.agent_port.into()), "contact");

    let directory = stack.dir().join("agent");
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for name in ["own-key.pem", "own-payload.pem"] {
        assert!(read(name).contains("ENCRYPTED PRIVATE KEY"), "{name}");
    }
    assert!(read("own-cert.crt").contains("CERTIFICATE") && read("own-data.json").contains("ak"));
    for name in ["server-private.pem", "server-cert.crt", "payload-private.pem", "agent_data.json"] {
        assert!(!directory.join(name).exists(), "{name}");
    }

    let payload = stack.dir().join("payload.zip");
    fs::write(&payload, package()).unwrap();
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let payload = payload.display().to_string();
    let arguments = ["-c", "add", "-t", "127.0.0.4", "--runtime-policy", &policy, "-f", &payload, "--verify"];
    let added = stack.tenant(Implementation::Ours, &arguments).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}\n{}", stack.logs());
    let unpacked = directory.join("secure/unzipped");
    let begun = Instant::now();
    while !unpacked.join("ran").exists() {
        assert!(begun.elapsed() < LIMIT, "payload_script\n{}", stack.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fs::read_to_string(unpacked.join("enclosed.txt")).unwrap(), "enclosed", "extract_payload_zip");
    assert_eq!(fs::read(unpacked.join("own_payload")).unwrap(), package(), "dec_payload_file");
    assert_eq!(fs::read(unpacked.join("own_key")).unwrap().len(), 32, "enc_keyname");
    let mut mounts = String::new();
    fs::File::open("/proc/self/mounts").unwrap().read_to_string(&mut mounts).unwrap();
    let secure = directory.join("secure").display().to_string();
    let mount = mounts.lines().find(|line| line.contains(&secure)).unwrap_or_else(|| panic!("{mounts}"));
    assert!(mount.contains("size=3072k"), "secure_size: {mount}");

    let record = stack.wait_for_status(LIMIT, |record| record["attestation_count"].as_u64() > Some(1)).unwrap();
    let algorithms = (&record["enc_alg"], &record["sign_alg"], &record["hash_alg"]);
    assert_eq!(
        algorithms,
        (&"ecc256".into(), &"ecdsa".into(), &"sha256".into()),
        "tpm_encryption_alg, tpm_signing_alg"
    );
    assert_eq!(record["attestation_status"], "PASS", "{record}");
    let log = fs::read_to_string(stack.dir().join("agent.log")).unwrap();
    assert!(!log.contains("of the server") && !log.contains("of the payload"), "a password is in the log: {log}");
}
