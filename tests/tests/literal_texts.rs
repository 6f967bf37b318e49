//! The words that Keylime's public acceptance suite, and the scripts of its users, look for: one table, checked on a real
//! stack in which an agent is enrolled, fails by its IMA list and by a PCR, and is cleaned up.

use keylime_harness::child::Finished;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log, ports};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use Implementation::Ours;

const LIMIT: Duration = Duration::from_secs(60);
const ID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";

/// Where a text is, and the text; `{id}` is the agent's.
const TEXTS: [(&str, &str); 32] = [
    ("verifier", "Starting Keylime verifier in PULL mode..."),
    ("verifier", "Current API version: 2.6"),
    ("verifier", "keylime.ima - WARNING - File not found in allowlist: /usr/bin/unknown"),
    ("verifier", "keylime.ima - ERROR - IMA ERRORS: Some entries couldn't be validated"),
    ("verifier", "WARNING - Agent {id} failed, stopping polling"),
    ("verifier", "keylime.tpm - ERROR - PCR #23: "),
    ("verifier", " does not match expected value "),
    ("verifier", "HTTPSConnectionPool(host='127.0.0.1', port="),
    ("registrar", "Starting Keylime registrar..."),
    ("agent", "Starting server with API versions: "),
    ("agent", "SUCCESS: Agent {id} registered"),
    ("agent", "SUCCESS: Agent {id} activated"),
    ("cvstatus", "\"operational_state\": \"Get Quote\""),
    ("add", "Agent {id} (127.0.0.1:"),
    ("cvlist", "{\"uuids\": [[\"{id}\"]]}"),
    ("reglist", "{\"uuids\": [\"{id}\"]}"),
    ("cvstatus", "\"attestation_status\": \"PASS\""),
    ("regstatus", "\"operational_state\": \"Registered\""),
    ("regstatus", "\"ekcert\": \""),
    ("bulkinfo", "Bulk Agent Info:"),
    ("failed", "\"operational_state\": \"Invalid Quote\""),
    ("failed", "\"attestation_status\": \"FAIL\""),
    ("explain", "ima.validation.ima-ng.not_in_allowlist"),
    ("addruntimepolicy", "{'code': 201, 'status': 'Created', 'results': {}}"),
    ("addruntimepolicy again", "'code': 409"),
    ("showruntimepolicy", "Show allowlist command response: 200."),
    ("showruntimepolicy", "{'code': 200, 'status': 'Success', 'results': {"),
    ("showruntimepolicy of none", "'code': 404"),
    ("listruntimepolicy", "list command response: 200."),
    ("delete", "deleted from the CV"),
    ("cvstatus after", "does not have agent {id}"),
    ("regstatus after", "Agent {id} does not exist on the registrar"),
];

/// Names of programs in process lists and scripts.
const PROGRAMS: [&str; 8] = [
    "keylime_verifier",
    "keylime_registrar",
    "keylime_agent",
    "keylime_tenant",
    "keylime_ca",
    "keylime_userdata_encrypt",
    "keylime_ima_emulator",
    "keylime_upgrade_config",
];

#[derive(Default)]
struct Outputs(BTreeMap<String, String>);

impl Outputs {
    fn keep(&mut self, name: &str, finished: &Finished, code: i32) {
        assert_eq!(finished.code, Some(code), "{name}: {finished:?}");
        self.0.insert(name.to_owned(), finished.stdout.clone());
    }

    fn tenant(&mut self, stack: &Stack, name: &str, arguments: &[&str], code: i32) {
        let finished = stack.tenant(Ours, arguments).unwrap();
        self.keep(name, &finished, code);
    }
}

#[test]
fn scripts_find_the_words_they_look_for() {
    let dead = ports::free();
    let mut stack = Stack::prepare(|settings| {
        settings.revocations = vec![
            ("enabled_revocation_notifications".into(), "['webhook']".into()),
            ("webhook_url".into(), format!("https://127.0.0.1:{dead}/hook")),
        ];
    })
    .unwrap();
    stack.start_all(Ours, Ours).unwrap();
    let policy = ima_log::policy(&[("/usr/bin/allowed", b"allowed")]);
    let policy = stack.write_json("policy.json", &policy).unwrap();
    let mut outputs = Outputs::default();

    outputs.tenant(&stack, "add", &["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy], 0);
    stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() >= Some(1)).unwrap();
    for command in ["cvlist", "reglist", "cvstatus", "regstatus", "bulkinfo"] {
        outputs.tenant(&stack, command, &["-c", command], 0);
    }
    let named = ["--runtime-policy-name", "named"];
    let with_policy = ["-c", "addruntimepolicy", named[0], named[1], "--runtime-policy", &policy];
    outputs.tenant(&stack, "addruntimepolicy", &with_policy, 0);
    outputs.tenant(&stack, "addruntimepolicy again", &with_policy, 1);
    outputs.tenant(&stack, "showruntimepolicy", &["-c", "showruntimepolicy", named[0], named[1]], 0);
    outputs.tenant(&stack, "showruntimepolicy of none", &["-c", "showruntimepolicy", named[0], "none"], 1);
    outputs.tenant(&stack, "listruntimepolicy", &["-c", "listruntimepolicy"], 0);

    // It fails by its list, then, enrolled again, by a PCR.
    stack.ima.append("/usr/bin/unknown", b"unknown").unwrap();
    stack.wait_for_status(LIMIT, |r| r["operational_state"] == "Invalid Quote").unwrap();
    outputs.tenant(&stack, "failed", &["-c", "cvstatus"], 0);
    outputs.tenant(&stack, "explain", &["-c", "explain"], 0);
    let document = stack.tenant(Ours, &["-c", "explain", "--json"]).unwrap();
    one_document(&document, "explain");
    let wrong = format!("{{\"23\": [\"{}\"]}}", "11".repeat(32));
    let updated = stack.tenant(Ours, &["-c", "update", "-t", "127.0.0.1", "--tpm_policy", &wrong]).unwrap();
    assert_eq!(updated.code, Some(0), "{updated:?}");
    stack.wait_for_status(LIMIT, |r| r["operational_state"] == "Invalid Quote").unwrap();

    outputs.tenant(&stack, "delete", &["-c", "delete"], 0);
    outputs.tenant(&stack, "cvstatus after", &["-c", "cvstatus"], 1);
    let gone = stack.tenant(Ours, &["-c", "cvstatus", "--json"]).unwrap();
    assert_eq!(gone.code, Some(1));
    assert_eq!(one_document(&gone, "cvstatus")["success"], false);
    outputs.tenant(&stack, "regdelete", &["-c", "regdelete"], 0);
    outputs.tenant(&stack, "regstatus after", &["-c", "regstatus"], 1);
    for name in ["verifier", "registrar", "agent"] {
        outputs.0.insert(name.to_owned(), fs::read_to_string(stack.dir().join(format!("{name}.log"))).unwrap());
    }

    let missing: Vec<String> = TEXTS
        .iter()
        .map(|(place, text)| (place, text.replace("{id}", ID)))
        .filter(|(place, text)| !outputs.0[**place].contains(text.as_str()))
        .map(|(place, text)| format!("{place}: {text}\n  in\n{}", outputs.0[*place]))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    status_lines_are_json(&outputs);
    services_end_on_sigterm(&mut stack);
}

/// Lines that begin with a brace are piped to jq, but for answers about policies, which are Python's.
fn status_lines_are_json(outputs: &Outputs) {
    for name in ["add", "cvlist", "reglist", "cvstatus", "regstatus", "bulkinfo", "failed"] {
        let lines = outputs.0[name].lines().filter(|line| line.starts_with('{') && !line.starts_with("{'"));
        let documents: Vec<Value> =
            lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"))).collect();
        assert!(!documents.is_empty(), "{name}");
    }
}

fn one_document(finished: &Finished, command: &str) -> Value {
    let document: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|e| panic!("{command} --json printed more than a document: {e}: {finished:?}"));
    assert_eq!(document["command"], command);
    assert!(finished.stdout.trim_end().lines().count() == 1 && document["results"].is_object(), "{finished:?}");
    document
}

fn services_end_on_sigterm(stack: &mut Stack) {
    for child in [&mut stack.verifier, &mut stack.registrar, &mut stack.agent].into_iter().flatten() {
        let start = Instant::now();
        child.signal(Signal::SIGTERM);
        child.terminate(Duration::from_secs(10)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

/// Every command of the tenant answers `--json` with one document, also when nobody is there to answer.
#[test]
fn every_command_answers_json_with_one_document() {
    let directory = tempfile::tempdir().unwrap();
    for command in keylime_tenant::cli::COMMANDS {
        let mut tenant = Command::new(binaries::path("keylime_tenant"));
        tenant.args(["-c", command, "--json", "--runtime-policy-name", "p", "--mb-policy-name", "m"]);
        tenant.args(["--runtime-policy", "/nonexistent"]);
        tenant.env("KEYLIME_DIR", directory.path()).env("HOME", directory.path());
        let output = tenant.output().unwrap();
        let finished = Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert_eq!(finished.code, Some(1), "{command}: {finished:?}");
        let document = one_document(&finished, command);
        assert!(document["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{document}");
    }
    let wrong = Command::new(binaries::path("keylime_tenant")).args(["--json", "--nothing"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(document["success"], false);
}

#[test]
fn programs_have_the_names_that_process_lists_show() {
    for program in PROGRAMS {
        assert!(binaries::path(program).is_file());
        let help = Command::new(binaries::path(program)).arg("--help").output().unwrap();
        assert!(help.status.success() && !help.stdout.is_empty(), "{program}");
    }
}

/// Each component reads its own files only: names of files that a process opened while it started (acceptance suite,
/// opened-conf-files).
#[test]
fn components_open_only_their_own_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let expected: [(&str, &[&str]); 3] = [
        ("keylime_tenant", &["logging", "tenant"]),
        ("keylime_verifier", &["ca", "logging", "verifier"]),
        ("keylime_registrar", &["logging", "registrar"]),
    ];
    if Command::new("strace").arg("--version").output().is_err() {
        eprintln!("strace is not installed: opened files are not watched");
        return;
    }
    for (program, files) in expected {
        let work = directory.path().join(program);
        fs::create_dir_all(&work).unwrap();
        let mut command = Command::new("strace");
        let log = work.join("strace.log");
        command.args(["-f", "-e", "trace=openat,open", "-o"]).arg(&log).args(["timeout", "-k", "1", "8"]);
        command.arg(binaries::path(program)).env("KEYLIME_DIR", &work);
        for component in ["verifier", "registrar", "tenant", "ca", "logging"] {
            let file = directory.path().join(format!("{component}.conf"));
            let port = if component == "verifier" { "tls_dir = generate\n" } else { "" };
            let ports = format!("ip = 127.0.0.1\nport = {}\ntls_port = {}\n", ports::free(), ports::free());
            fs::write(&file, format!("[{component}]\nversion = 2.6\n{port}{ports}")).unwrap();
            command.env(format!("KEYLIME_{}_CONFIG", component.to_uppercase()), &file);
        }
        command.output().unwrap();
        let trace = fs::read_to_string(&log).unwrap();
        let opened: Vec<&str> = ["agent", "ca", "logging", "registrar", "tenant", "verifier"]
            .into_iter()
            .filter(|component| {
                trace.lines().any(|line| line.contains(&format!("/{component}.conf\"")) && !line.contains("ENOENT"))
            })
            .collect();
        assert_eq!(opened, files, "{program}");
    }
}
