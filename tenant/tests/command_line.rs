//! `keylime_tenant` as a process: what it prints and how it ends, compared with recorded runs of the reference.
//!
//! The recorded output lacks the lines about configuration and TLS, and shows Python's stack trace after errors, which
//! this program has none of.

mod stub_server;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use keylime_pki::authority::{Authority, Subject};
use keylime_pki::tls::{self, Identity};
use rustls::ServerConfig;
use serde_json::{Value, json};
use stub_server::{Answers, StubServer};

const ID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";
/// Ports of the servers in the recorded runs.
const RECORDED_REGISTRAR: &str = "31891";
const RECORDED_VERIFIER: &str = "31881";
const RECORDED_AGENT: [&str; 2] = ["31902", "31896"];

struct Recorded {
    arguments: Vec<String>,
    note: String,
    exit: i32,
    stdout: String,
    stderr: String,
}

fn recorded() -> Vec<Recorded> {
    let file: Value = serde_json::from_str(include_str!("data/tenant_cli.json")).unwrap();
    let runs = file["runs"].as_array().unwrap().iter();
    runs.map(|run| Recorded {
        arguments: run["argv"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect(),
        note: run["note"].as_str().unwrap().to_owned(),
        exit: i32::try_from(run["exit"].as_i64().unwrap()).unwrap(),
        stdout: run["stdout"].as_str().unwrap().to_owned(),
        stderr: run["stderr"].as_str().unwrap().to_owned(),
    })
    .collect()
}

fn find(arguments: &[&str], exit: i32) -> Recorded {
    let mut runs = recorded().into_iter();
    runs.find(|run| run.arguments[1..] == *arguments && run.exit == exit)
        .unwrap_or_else(|| panic!("no recorded run {arguments:?} with exit code {exit}"))
}

/// The JSON of the n-th line of an output that is nothing but JSON.
fn json_line(stdout: &str, at: usize) -> Value {
    stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .nth(at)
        .unwrap()
}

/// Certificates, three servers, and a place to run in.
struct World {
    directory: tempfile::TempDir,
    registrar: StubServer,
    verifier: StubServer,
    agent: StubServer,
    /// An agent that trusts another authority than the tenant's.
    estranged_agent: StubServer,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

fn ok(results: Value) -> (u16, Option<Value>) {
    (200, Some(json!({"code": 200, "status": "Success", "results": results})))
}

fn failed(code: u16, status: &str) -> (u16, Option<Value>) {
    (code, Some(json!({"code": code, "status": status, "results": {}})))
}

impl World {
    fn new() -> Self {
        keylime_pki::install_crypto_provider();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("cv_ca");
        let mut authority = Authority::init(&ca, &Subject::default(), "pw").unwrap();
        authority.issue("client", &[], &[], None).unwrap();
        authority.issue("server", &[], &[], None).unwrap();
        let file = |name: &str| ca.join(name);
        let identity = tls::load_identity(&file("server-cert.crt"), &file("server-private.pem"), None).unwrap();
        let config =
            |identity: Identity| tls::required_client_auth(identity, vec![authority.certificate().clone()]).unwrap();
        let (agent_identity, agent_pem) = self_signed();
        std::fs::write(directory.path().join("policy.json"), POLICY).unwrap();
        Self {
            registrar: registrar(config(identity.clone()), &agent_pem),
            verifier: verifier(config(identity)),
            agent: agent(config(agent_identity.clone())),
            estranged_agent: agent(
                tls::required_client_auth(agent_identity.clone(), agent_identity.certs.clone()).unwrap(),
            ),
            directory,
        }
    }

    fn run(&self, program: &str, arguments: &[String], environment: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("KEYLIME_DIR", self.directory.path())
            .env("KEYLIME_TENANT_REQUIRE_EK_CERT", "False")
            .env("KEYLIME_TENANT_VERIFIER_PORT", self.verifier.port.to_string())
            .env("KEYLIME_TENANT_REGISTRAR_PORT", self.registrar.port.to_string())
            .env("KEYLIME_TENANT_RETRY_INTERVAL", "0.01")
            .envs(environment.iter().copied());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn tenant(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.run(env!("CARGO_BIN_EXE_keylime_tenant"), &arguments, environment)
    }

    /// Output without times and lines about the set-up, and with the recorded ports.
    fn comparable(&self, stdout: &str) -> String {
        const SET_UP: [&str; 5] = [
            "Setting up client TLS",
            "Using default client_",
            "No value provided in client_key_p",
            "TLS is enabled",
            "Reading configuration",
        ];
        let lines = stdout.lines().filter(|line| !SET_UP.iter().any(|text| line.contains(text)));
        let lines: Vec<String> = lines
            .map(|line| match line.split_once(" - keylime.") {
                Some((time, rest)) if time.len() == 23 => format!("<time> - keylime.{rest}"),
                _ => line.to_owned(),
            })
            .collect();
        lines
            .join("\n")
            .replace(&self.registrar.port.to_string(), RECORDED_REGISTRAR)
            .replace(&self.verifier.port.to_string(), RECORDED_VERIFIER)
            .replace(&self.agent.port.to_string(), RECORDED_AGENT[0])
    }
}

fn self_signed() -> (Identity, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["agent".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    (Identity { certs: vec![certificate.der().clone()], key: der.into() }, certificate.pem())
}

fn versions() -> (u16, Option<Value>) {
    ok(json!({"current_version": "2.6", "supported_versions": ["1.0", "2.0", "2.5", "2.6", "3.0"]}))
}

fn registrar(config: ServerConfig, agent_pem: &str) -> StubServer {
    let mut registration = json_line(&find(&["-c", "regstatus"], 0).stdout, 0)[ID].take();
    registration.as_object_mut().unwrap().shift_remove("operational_state");
    let list = json_line(&find(&["-c", "reglist"], 0).stdout, 0);
    let mut other = registration.clone();
    other["mtls_cert"] = Value::from(agent_pem);
    let answers = Answers::from([
        ("GET /version".to_owned(), versions()),
        (format!("GET /v2.6/agents/{ID}"), ok(registration)),
        ("GET /v2.6/agents/live".to_owned(), ok(other)),
        ("GET /v2.6/agents/nope".to_owned(), failed(404, "Agent with ID 'nope' not found")),
        ("DELETE /v2.6/agents/nope".to_owned(), failed(404, "Agent with ID 'nope' not found")),
        ("GET /v2.6/agents/".to_owned(), ok(list)),
    ]);
    StubServer::start(config, answers)
}

fn verifier(config: ServerConfig) -> StubServer {
    let mut agents = json_line(&find(&["-c", "cvstatus"], 0).stdout, 0);
    agents[ID]["operational_state"] = Value::from(9);
    // Where the recorded answer points, nobody listens here.
    for member in ["verifier_ip", "verifier_port"] {
        agents[ID][member] = Value::Null;
    }
    let shown = find(&["-c", "showruntimepolicy", "--runtime-policy-name", "p9"], 0).stdout;
    let text = shown.split("'runtime_policy': '").nth(1).unwrap().split("'}}").next().unwrap().to_owned();
    let names = json!({"runtimepolicy names": [ID, "p9"]});
    let answers = Answers::from([
        ("GET /version".to_owned(), versions()),
        (format!("GET /v2.6/agents/{ID}"), ok(agents[ID].clone())),
        ("GET /v2.6/agents/?verifier=".to_owned(), ok(json!({"uuids": [[ID]]}))),
        ("GET /v2.6/agents/?bulk=True&verifier=".to_owned(), ok(agents)),
        (format!("DELETE /v2.6/agents/{ID}"), ok(json!({}))),
        (format!("PUT /v2.6/agents/{ID}/reactivate"), ok(json!({}))),
        ("POST /v2.6/allowlists/p9".to_owned(), (201, Some(json!({"code": 201, "status": "Created", "results": {}})))),
        ("POST /v2.6/allowlists/twice".to_owned(), failed(409, "Runtime policy with name p9 already exists")),
        ("GET /v2.6/allowlists/p9".to_owned(), ok(json!({"name": "p9", "tmp_policy": null, "runtime_policy": text}))),
        ("GET /v2.6/allowlists/".to_owned(), ok(names)),
        ("DELETE /v2.6/allowlists/p9".to_owned(), (204, None)),
        ("DELETE /v2.6/allowlists/gone".to_owned(), failed(404, "Runtime policy p9 not found")),
    ]);
    StubServer::start(config, answers)
}

fn agent(config: ServerConfig) -> StubServer {
    let answers = HashMap::from([(
        "GET /version".to_owned(),
        ok(json!({"supported_version": "2.6", "supported_versions": ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"]})),
    )]);
    StubServer::start(config, answers)
}

const POLICY: &str = r#"{"meta": {"version": 1, "generator": 3}, "release": 0, "digests": {}, "excludes": [], "keyrings": {}, "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {}, "verification-keys": ""}"#;

#[test]
fn questions_about_agents_are_answered_as_by_the_reference() {
    let world = world();
    let cases: [(&[&str], i32); 12] = [
        (&["-c", "regstatus"], 0),
        (&["-c", "cvstatus"], 0),
        (&["-c", "reglist"], 0),
        (&["-c", "cvlist"], 0),
        (&["-c", "bulkinfo"], 0),
        (&["-c", "status", "-u", ID], 0),
        (&["-c", "regstatus", "-u", "nope"], 1),
        (&["-c", "cvstatus", "-u", "nope"], 1),
        (&["-c", "regdelete", "-u", "nope"], 0),
        (&["-c", "delete", "-u", "nope"], 0),
        (&["-c", "foo"], 1),
        (&["-c", "add", "-u", "a b"], 1),
    ];
    for (arguments, exit) in cases {
        let expected = find(arguments, exit);
        let (code, stdout, stderr) = world.tenant(arguments, &[]);
        // The verifier's address is null in our servers' answer, see above.
        let wanted = expected.stdout.replace(
            "\"verifier_ip\": \"127.0.0.1\", \"verifier_port\": 31897",
            "\"verifier_ip\": null, \"verifier_port\": null",
        );
        assert_eq!(world.comparable(&stdout), wanted.trim_end_matches('\n'), "{arguments:?}");
        assert_eq!((code, stderr.as_str()), (exit, ""), "{arguments:?}");
    }
}

#[test]
fn policy_commands_print_what_the_reference_prints() {
    let world = world();
    let add: &[&str] = &["-c", "addruntimepolicy", "--runtime-policy", "policy.json", "--runtime-policy-name", "p9"];
    let delete: &[&str] = &["-c", "deleteruntimepolicy", "--runtime-policy-name", "p9"];
    let cases: [(&[&str], Option<&str>, i32); 7] = [
        (add, None, 0),
        (add, Some("twice"), 1),
        (&["-c", "showruntimepolicy", "--runtime-policy-name", "p9"], None, 0),
        (&["-c", "listruntimepolicy"], None, 0),
        (delete, None, 0),
        (delete, Some("gone"), 1),
        (&["-c", "addruntimepolicy", "--runtime-policy", "policy.json"], None, 1),
    ];
    for (arguments, other_name, exit) in cases {
        let expected = find(arguments, exit);
        let mut given = arguments.to_vec();
        if let Some(name) = other_name {
            *given.last_mut().unwrap() = name;
        }
        let (code, stdout, stderr) = world.tenant(&given, &[]);
        assert_eq!(world.comparable(&stdout), expected.stdout.trim_end_matches('\n'), "{arguments:?}");
        assert_eq!((code, stderr.as_str()), (exit, ""), "{arguments:?}");
    }
    let requests = world.verifier.requests();
    let (_, body) = requests.iter().find(|(request, _)| request == "POST /v2.6/allowlists/p9").unwrap();
    assert!(body.starts_with("{\"tpm_policy\": \"{\\\"mask\\\": \\\"0x400\\\"}\", \"runtime_policy\": \""), "{body}");
    assert!(body.ends_with("\", \"runtime_policy_key\": \"\"}"), "{body}");
}

#[test]
fn wrong_command_lines_end_with_usage_and_code_two() {
    let world = world();
    for arguments in [&["--nope"][..], &["-c", "addruntimepolicy"]] {
        let expected = find(arguments, 2);
        let (code, stdout, stderr) = world.tenant(arguments, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.starts_with("usage: keylime_tenant [-h] [-c COMMAND] [--push-model] [-t AGENT_IP]\n"));
        // The recorded text is cut at its beginning.
        let tail: Vec<&str> = expected.stderr.lines().skip(1).collect();
        assert!(stderr.trim_end().ends_with(&tail.join("\n")), "{stderr}");
    }
    let (code, stdout, _) = world.tenant(&["--help"], &[]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\noptions:\n  -h, --help            show this help message and exit\n"));
    assert_eq!(world.tenant(&["--version"], &[]).0, 0);
}

#[test]
fn mistakes_in_an_enrolment_are_found_before_the_agent_is_asked_for_a_quote() {
    let world = world();
    let port = world.agent.port.to_string();
    let address = ["-u", "live", "-t", "127.0.0.1", "-tp", &port];
    let cases: [&[&str]; 3] = [
        &["-c", "add", "--tpm_policy", "{\"16\":\"00\"}"],
        &["-c", "add", "--verify"],
        &["-c", "add", "--tpm_policy", "{\"10\":\"00\"}", "--runtime-policy", "policy.json"],
    ];
    for arguments in cases {
        let expected = find(arguments, 1);
        // The reference adds the stack trace and repeats the message.
        let wanted: Vec<&str> = expected
            .stdout
            .lines()
            .filter(|line| {
                !line.contains("Using default UUID")
                    && !line.starts_with("Traceback")
                    && !line.starts_with("Exception: ")
            })
            .collect();
        let (code, stdout, _) = world.tenant(&[arguments, &address].concat(), &[]);
        assert_eq!(world.comparable(&stdout).replace("agent live", &format!("agent {ID}")), wanted.join("\n"));
        assert_eq!(code, 1);
    }
    assert!(world.agent.requests().iter().all(|(request, _)| request == "GET /version"));
}

#[test]
fn an_agent_that_does_not_trust_the_tenant_is_named_as_the_reason() {
    let world = world();
    let port = world.estranged_agent.port.to_string();
    let (code, stdout, _) = world.tenant(&["-c", "add", "-u", "live", "-t", "127.0.0.1", "-tp", &port], &[]);
    assert_eq!(code, 1);
    assert!(stdout.contains("ERROR - Keylime agent does not recognize mTLS certificate form tenant."), "{stdout}");
}

#[test]
fn an_agent_with_another_certificate_than_it_registered_is_not_trusted() {
    let world = world();
    let port = world.agent.port.to_string();
    // This id is registered with the certificate of another machine.
    let (code, stdout, _) = world.tenant(&["-c", "add", "-u", ID, "-t", "127.0.0.1", "-tp", &port], &[]);
    assert_eq!(code, 1);
    assert!(stdout.contains("invalid peer certificate"), "{stdout}");
}

#[test]
fn reactivate_and_delete_follow_the_check() {
    let world = world();
    let (code, stdout, _) = world.tenant(&["-c", "reactivate", "-u", ID], &[]);
    assert_eq!(code, 0);
    let line = format!("<time> - keylime.tenant - INFO - Agent {ID} re-activated");
    assert!(world.comparable(&stdout).ends_with(&format!("{line}\n{line}")), "{stdout}");
    let (code, stdout, _) = world.tenant(&["-c", "delete", "-u", ID, "-nvc"], &[]);
    assert_eq!(code, 0);
    assert_eq!(
        world.comparable(&stdout),
        format!(
            "<time> - keylime.tenant - INFO - Using API version 2.6 for verifier communication\n\
             <time> - keylime.tenant - INFO - Agent {ID} deleted from the CV"
        )
    );
}

#[test]
fn unusable_certificates_and_servers_are_reported() {
    let world = world();
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = elsewhere.path().to_str().unwrap();
    let (code, stdout, _) = world.tenant(&["-c", "reglist"], &[("KEYLIME_TENANT_TLS_DIR", dir)]);
    assert_eq!(code, 1);
    assert!(stdout.contains("TLS is disabled.") && stdout.contains("It is unsafe to use this interface"), "{stdout}");
    let (code, stdout, _) = world.tenant(&["-c", "cvstatus", "-vp", "1"], &[]);
    assert_eq!(code, 1);
    assert!(stdout.contains("Connection refused"), "{stdout}");
}

#[test]
fn the_encrypt_tool_writes_what_the_tenant_reads() {
    let world = world();
    let directory: PathBuf = world.directory.path().to_owned();
    std::fs::write(directory.join("secret.txt"), "secret").unwrap();
    for run in recorded().into_iter().filter(|run| run.arguments[0] == "keylime_userdata_encrypt") {
        let (code, stdout, stderr) =
            world.run(env!("CARGO_BIN_EXE_keylime_userdata_encrypt"), &run.arguments[1..], &[]);
        assert_eq!((code, stdout, stderr), (run.exit, run.stdout, run.stderr), "{}", run.note);
    }
    let keys = std::fs::read_to_string(directory.join("content_keys.txt")).unwrap();
    assert_eq!(keys.lines().count(), 3);
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(directory.join(name)).unwrap().permissions())
    };
    assert_eq!((mode("content_keys.txt") & 0o777, mode("content_payload.txt") & 0o777), (0o600, 0o600));
}

#[test]
fn the_authority_tool_makes_and_revokes_certificates() {
    let world = world();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    let ca = |arguments: &[&str]| {
        let arguments: Vec<String> =
            arguments.iter().chain(&["-d", path.to_str().unwrap()]).map(|argument| (*argument).to_owned()).collect();
        world.run(env!("CARGO_BIN_EXE_keylime_ca"), &arguments, &[("KEYLIME_CA_PASSWORD", "pw")])
    };
    let exists = |name: &str| Path::new(&path).join(name).is_file();
    assert_eq!(ca(&["-c", "init"]).0, 0);
    assert!(exists("cacert.crt") && exists("private.yml") && !exists("ca-private.pem"));
    let (code, stdout, _) = ca(&["-c", "create", "-n", "agent"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("keylime.ca-util - INFO - Created certificate for name agent successfully in "),
        "{stdout}"
    );
    assert_eq!(ca(&["-c", "pkg", "-n", "agent"]).0, 0);
    assert!(exists("agent-pkg.zip"));
    assert_eq!(ca(&["-c", "revoke", "-n", "agent"]).0, 0);
    let (code, stdout, _) = ca(&["-c", "create"]);
    assert_eq!(code, 255);
    assert!(stdout.contains("you must pass in a name for the certificate using -n (or --name)\nusage: keylime_ca "));
    assert_eq!(ca(&["-c", "nest"]).0, 255);
    assert_eq!(ca(&[]).0, 2);
}
