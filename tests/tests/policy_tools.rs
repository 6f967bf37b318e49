//! The policy tools beside Keylime 7.14.3's: the same inputs, the same exit codes, outputs and files.

use keylime_engine::policy::dsse;
use keylime_harness::peer;
use keylime_policy_tools::{Environment, Program, ProgressDisplay, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use time::UtcOffset;

const RUN_TOOLS: &str = include_str!("policy_tools/run_tools.py");

/// What a tool did.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    exit: i64,
    stdout: String,
    stderr: String,
    /// Files in its directory that were not there before.
    files: BTreeMap<String, String>,
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/agreement")
}

/// A directory with the inputs of all cases.
fn workshop() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for source in ["tools", "keys", "dsse"] {
        for entry in fs::read_dir(vectors().join(source)).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
            }
        }
    }
    let tree = directory.path().join("tree");
    for (path, content) in [
        ("usr/bin/with space", "a"),
        ("usr/lib/é/x", "b"),
        ("tmp/left-out", "c"),
        ("usr/tmp/kept", "d"),
        ("opt/big", "e"),
        ("boot/efi/k", "f"),
    ] {
        let file = tree.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content.repeat(70_000)).unwrap();
    }
    std::os::unix::fs::symlink("usr/lib", tree.join("lib")).unwrap();
    directory
}

fn snapshot(directory: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_file());
    let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    files.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(entry.path()))).collect()
}

fn program(tool: &str) -> Program {
    match tool {
        "keylime-policy" => Program::KeylimePolicy,
        "keylime_create_policy" => Program::CreatePolicy,
        "keylime_convert_runtime_policy" => Program::ConvertRuntimePolicy,
        "keylime_sign_runtime_policy" => Program::SignRuntimePolicy,
        other => panic!("{other}"),
    }
}

fn arguments(line: &str) -> Vec<String> {
    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ours(line: &str) -> Outcome {
    let directory = workshop();
    let before = snapshot(directory.path());
    let mut words = arguments(line);
    let tool = words.remove(0);
    let environment = Environment {
        directory: directory.path().to_owned(),
        effective_user: 0,
        columns: 80,
        offset: UtcOffset::UTC,
        progress: ProgressDisplay::Hidden,
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = run(program(&tool), &words, &environment, &mut stdout, &mut stderr);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    outcome(directory.path(), &before, i64::from(exit), text(stdout), text(stderr))
}

fn theirs(lines: &[&str]) -> Vec<Outcome> {
    let directories: Vec<_> = lines.iter().map(|_| workshop()).collect();
    let before: Vec<_> = directories.iter().map(|directory| snapshot(directory.path())).collect();
    let runs: Vec<Value> = lines
        .iter()
        .zip(&directories)
        .map(|(line, directory)| {
            let words = arguments(line);
            json!({ "tool": words[0], "argv": words[1..], "cwd": directory.path() })
        })
        .collect();
    let mut child = Command::new(peer::program("python3"))
        .args(["-c", RUN_TOOLS])
        .env("COLUMNS", "80")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(json!(runs).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let results: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut outcomes = Vec::new();
    for (at, result) in results.iter().enumerate() {
        let exit = result["exit"].as_i64().unwrap();
        outcomes.push(outcome(
            directories[at].path(),
            &before[at],
            exit,
            text(&result["stdout"]),
            text(&result["stderr"]),
        ));
    }
    outcomes
}

fn outcome(directory: &Path, before: &BTreeMap<String, String>, exit: i64, stdout: String, stderr: String) -> Outcome {
    let files = snapshot(directory).into_iter().filter(|(name, content)| before.get(name) != Some(content));
    let place = directory.display().to_string();
    let mut files: BTreeMap<String, String> =
        files.map(|(name, content)| (name, comparable(&content, &place))).collect();
    // A new key has an id of its own.
    if files.values().any(|content| content == "a new EC PRIVATE KEY")
        && let Some(text) = files.get_mut("out.json")
        && let Some((head, tail)) = text.split_once("\"keyid\":\"")
        && let Some((_, tail)) = tail.split_once('"')
    {
        *text = format!("{head}\"keyid\":\"{tail}");
    }
    Outcome { exit, stdout: comparable(&stdout, &place), stderr: stderr.replace(&place, "DIR"), files }
}

/// A result without what differs from run to run: times, signatures, keys, the order of a policy's paths.
fn comparable(text: &str, place: &str) -> String {
    let text = text.replace(place, "DIR");
    for label in ["EC PRIVATE KEY", "CERTIFICATE"] {
        if text.starts_with(&format!("-----BEGIN {label}-----\n"))
            && text.ends_with(&format!("-----END {label}-----\n"))
        {
            return format!("a new {label}");
        }
    }
    let Ok(mut document) = serde_json::from_str::<Value>(&text) else { return text };
    if let Some(timestamp) = document.pointer_mut("/meta/timestamp") {
        let form: String =
            timestamp.as_str().unwrap_or_default().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        *timestamp = json!(form);
    }
    if let Some(signature) = document.pointer_mut("/signatures/0") {
        signature["sig"] = json!("");
        if signature["keyid"].as_str().is_some_and(|id| id.len() > 64) {
            signature["keyid"] = json!("a certificate");
        }
    }
    if let Some(digests) = document.get_mut("digests").and_then(Value::as_object_mut) {
        digests.sort_keys();
    }
    // The separators and escapes count: the same document written by another writer is another file.
    let ending = if text.ends_with('\n') { "\n" } else { "" };
    let spaced = if text.contains("\": ") { "with spaces" } else { "without spaces" };
    let escapes = if text.is_ascii() { "ASCII" } else { "UTF-8" };
    format!("{document} {spaced} {escapes}{ending}")
}

/// Messages both tools give: all lines but usage texts, tracebacks and the reference's notes on its configuration.
fn messages(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter(|line| !line.starts_with([' ', 'u']) && !line.trim().is_empty());
    let lines = lines.filter(|line| !line.contains("keylime.config") && !line.contains("keylime_upgrade_config"));
    // The reference has a stray sign in one of its messages.
    lines.map(|line| line.trim_end().replace(": %[", ": [")).collect()
}

fn peer_is_there() -> bool {
    if std::env::var_os("KEYLIME_PEER_DIR").is_some() || peer::is_installed() {
        return true;
    }
    peer::ensure().is_ok()
}

/// Command lines whose exit code, standard output, files and messages are those of the reference.
const EQUAL: &[&str] = &[
    "keylime-policy",
    "keylime-policy create",
    "keylime-policy create nothing",
    "keylime-policy nothing",
    "keylime-policy sign",
    "keylime-policy create runtime",
    "keylime-policy create runtime -o out.json",
    "keylime-policy create runtime -o out.json stray",
    "keylime-policy create runtime --unknown",
    "keylime-policy create runtime --algo md5",
    "keylime-policy create runtime -o",
    "keylime-policy create runtime --algo sha384 -o out.json",
    "keylime-policy create runtime -a flat_ok.txt",
    "keylime-policy create runtime -a flat_ok.txt -o out.json",
    "keylime-policy create runtime --allowl flat_ok.txt --outp out.json",
    "keylime-policy create runtime -aflat_ok.txt -oout.json",
    "keylime-policy create runtime -a flat_ok.txt --show-legacy-allowlist",
    "keylime-policy create runtime -a flat_allowlist.txt",
    "keylime-policy create runtime -a missing.txt",
    "keylime-policy create runtime -p base_sha256.json -a flat_ok.txt -e excludes.txt --ignored-keyrings b --ignored-keyrings a",
    "keylime-policy create runtime -p base_invalid_digest.json",
    "keylime-policy create runtime -p missing.json",
    "keylime-policy create runtime -p runtime-policy.json -o out.json",
    "keylime-policy create runtime -p runtime-policy.json -k -b -m imalog_mixed.txt -o out.json",
    "keylime-policy create runtime -e excludes_bad.txt",
    "keylime-policy create runtime -e missing.txt",
    "keylime-policy create runtime -m imalog_mixed.txt -o out.json",
    "keylime-policy create runtime -m missing",
    "keylime-policy create runtime -m /dev/null -k -b",
    "keylime-policy create runtime -m imalog_mixed.txt -a flat_ok.txt",
    "keylime-policy create runtime -m imalog_mixed.txt --algo sha1 --rootfs tree",
    "keylime-policy create runtime --rootfs tree -o out.json",
    "keylime-policy create runtime --rootfs tree/ --algo sha512 -s tree/opt,/elsewhere -o out.json",
    "keylime-policy create runtime --rootfs tree --skip-path tree",
    "keylime-policy create runtime --rootfs nowhere",
    "keylime-policy create runtime --rootfs tree --algo sha1 -m imalog_mixed.txt",
    "keylime-policy create runtime --add-ima-signature-verification-key rsa2048pub.pem \
     --add-ima-signature-verification-key ed25519_cert.der --add-ima-signature-verification-key flat_ok.txt -o out.json",
    "keylime-policy create runtime -o nowhere/out.json",
    "keylime-policy sign runtime",
    "keylime-policy sign runtime -r runtime-policy.json -k ec-p521-private.pem",
    "keylime-policy sign runtime -r runtime-policy.json -k ec-p521-private.pem -o out.json",
    "keylime-policy sign runtime -r runtime-policy.json -o out.json",
    "keylime-policy sign runtime -r runtime-policy.json -p key.pem -b X509 -c cert.pem -o out.json",
    "keylime-policy sign runtime -r runtime-policy.json -k ec-p521-private.pem -b x509 -c cert.pem -o out.json",
    "keylime-policy sign runtime -r runtime-policy.json -b x509 -o out.json",
    "keylime-policy sign runtime -r runtime-policy.json -k missing.pem",
    "keylime-policy sign runtime -r runtime-policy.json -k rsa-4096-private.pem",
    "keylime-policy sign runtime -r runtime-policy.json -k ec-p521-private.pem -p x",
    "keylime-policy sign runtime -r runtime-policy.json -b none",
    "keylime-policy sign runtime -r runtime-policy-bogus.json -k ec-p521-private.pem",
    "keylime-policy sign runtime -r missing.json -k ec-p521-private.pem",
    "keylime_sign_runtime_policy -r flat_ok.txt -k ec-p521-private.pem -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt -b x509 -p k -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt -b none -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt -k rsa-4096-private.pem -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt -k a -p b -o out.json",
    "keylime_sign_runtime_policy -r flat_ok.txt",
    "keylime_sign_runtime_policy -o out.json",
    "keylime_convert_runtime_policy -a flat_allowlist.txt -e excludes.txt -o out.json",
    "keylime_convert_runtime_policy -a allow_json_legacy.json -o out.json",
    "keylime_convert_runtime_policy -r policy_v0.json -v rsa2048pub.pem rsa_customskid.der -o out.json",
    "keylime_convert_runtime_policy -r runtime-policy.json -v ed25519_cert.der flat_ok.txt -o out.json",
    "keylime_convert_runtime_policy -a flat_ok.txt -r policy_v0.json -o out.json",
    "keylime_convert_runtime_policy -a flat_ok.txt",
    "keylime_convert_runtime_policy -e excludes.txt -o out.json",
    "keylime_create_policy -m imalog_mixed.txt",
    "keylime_create_policy -m imalog_mixed.txt -k -b -o out.json",
    "keylime_create_policy -m /dev/null -a flat_ok.txt -e excludes.txt -i b -i a -o out.json",
    "keylime_create_policy -m /dev/null -a flat_allowlist.txt",
    "keylime_create_policy -m /dev/null -B runtime-policy.json -A rsa2048pub.pem -o out.json",
    "keylime_create_policy -m /dev/null -B base_sha256.json",
    "keylime_create_policy -m missing",
    "keylime_create_policy -m missing --no-hashes",
    "keylime_create_policy --unknown",
];

#[test]
fn tools_do_what_the_reference_does() {
    assert!(peer_is_there(), "Keylime 7.14.3 cannot be installed");
    assert!(nix::unistd::geteuid().is_root(), "the reference's tools run as root only");
    let theirs = theirs(EQUAL);
    let mut differences = Vec::new();
    for (line, theirs) in EQUAL.iter().zip(theirs) {
        let ours = ours(line);
        // Help texts say the same in other words, and name more commands.
        let helps = theirs.stdout.starts_with("usage:");
        let (our_messages, their_messages) = (messages(&ours.stderr), messages(&theirs.stderr));
        let names_commands =
            their_messages.iter().any(|message| message.contains("{create,sign}") || message.contains("{runtime,"));
        let equal = ours.exit == theirs.exit
            && (helps || ours.stdout == theirs.stdout)
            && ours.files == theirs.files
            && (names_commands || our_messages == their_messages);
        if !equal {
            differences.push(format!("{line}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn envelopes_are_those_of_the_reference() {
    let signed = ours("keylime-policy sign runtime -r runtime-policy.json -p new.pem -b x509 -c cert.pem");
    assert_eq!(signed.exit, 0);
    let directory = workshop();
    let environment = Environment {
        directory: directory.path().to_owned(),
        effective_user: 0,
        columns: 80,
        offset: UtcOffset::UTC,
        progress: ProgressDisplay::Hidden,
    };
    let words = arguments("sign runtime -r runtime-policy.json -k ec-p521-private.pem -o signed.json");
    assert_eq!(run(Program::KeylimePolicy, &words, &environment, &mut Vec::new(), &mut Vec::new()), 0);
    let envelope: Value = serde_json::from_slice(&fs::read(directory.path().join("signed.json")).unwrap()).unwrap();
    let public = fs::read(vectors().join("dsse/ec-p521-public.pem")).unwrap();
    assert!(dsse::verified_payload(&envelope, &public).is_ok());
    assert!(peer_is_there(), "Keylime 7.14.3 cannot be installed");
    let check = "import sys; from keylime import signing; \
                 print(signing.verify_dsse_envelope(open(sys.argv[1],'rb').read(), open(sys.argv[2],'rb').read()) is not None)";
    let output = Command::new(peer::program("python3"))
        .args(["-c", check])
        .arg(directory.path().join("signed.json"))
        .arg(directory.path().join("ec-p521-public.pem"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("True\n"), "{output:?}");
}

#[test]
fn the_script_takes_the_options_of_the_reference() {
    let directory = workshop();
    let place = |name: &str| directory.path().join(name);
    let list = format!("10 00 ima-ng sha256:{} boot_aggregate\n", "7".repeat(64));
    fs::write(place("list"), list).unwrap();
    let script = keylime_harness::binaries::workspace().join("tenant/policy-tools/scripts/create_runtime_policy.sh");
    let path = format!("{}:{}", keylime_harness::binaries::dir().display(), std::env::var("PATH").unwrap_or_default());
    let made = |algorithm: &str| {
        Command::new("sh")
            .arg(&script)
            .args(["-o", "policy.json", "-a", algorithm, "-x=none"])
            .arg(format!("-y={}", place("list").display()))
            .arg("--rootfs-location")
            .arg(place("tree"))
            .arg("-e")
            .arg(place("excludes.txt"))
            .env("PATH", &path)
            .env("KEYLIME_POLICY_WORK", place("work"))
            .output()
            .unwrap()
    };
    let output = made("sha256sum");
    assert!(output.status.success(), "{output:?}");
    let policy: Value = serde_json::from_slice(&fs::read(place("work/output/policy.json")).unwrap()).unwrap();
    assert_eq!(policy["digests"]["boot_aggregate"], json!(["7".repeat(64)]));
    assert!(policy["digests"]["/usr/bin/with_space"].is_array() && policy["digests"].get("/tmp/left-out").is_none());
    assert_eq!(policy["excludes"], json!(["/tmp/.*", "/var/log", "/opt", "/opt"]));
    // The boot aggregate is not one of SHA-1.
    assert_eq!(made("sha1sum").status.code(), Some(1));
    assert_eq!(made("md5sum").status.code(), Some(1));
}
