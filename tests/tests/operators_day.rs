//! An operator's day with mistakes: the same commands by Keylime 7.14.3's tools and by ours, against the same servers. Exit
//! codes are equal, and so are the lines that tell what is wrong, but for those that are listed here with their reason.

use keylime_harness::child::{Finished, run};
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::{binaries, ima_log, peer};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

fn program(whose: Implementation, name: &str) -> PathBuf {
    match whose {
        Implementation::Ours => binaries::path(name),
        Implementation::Peer => peer::program(name),
    }
}

/// What a run comes down to: its exit code, and each thing it said, without times and the reference's tracebacks.
#[derive(Debug, PartialEq)]
struct Said {
    code: Option<i32>,
    lines: Vec<String>,
}

fn said(stack: &Stack, finished: &Finished) -> Said {
    let directory = stack.dir().display().to_string();
    let mut lines = Vec::new();
    let mut in_traceback = false;
    for line in finished.stdout.lines().chain(finished.stderr.lines()) {
        let line = line.trim_end().replace(&directory, "DIR");
        let record = line.get(23..).and_then(|rest| rest.strip_prefix(" - ")).filter(|_| line.starts_with("20"));
        if let Some(record) = record {
            in_traceback = false;
            lines.push(record.to_owned());
        } else if line.starts_with("Traceback (most recent call last)") {
            in_traceback = true;
        } else if !in_traceback && !line.is_empty() {
            lines.push(line);
        }
    }
    lines.retain(|line| !CHATTER.iter().any(|chatter| line.contains(chatter)));
    Said { code: finished.code, lines }
}

/// Lines about the configuration and the connection, which every run begins with.
const CHATTER: [&str; 9] = [
    "keylime.config - ",
    "INFO:keylime.config",
    "TLS",
    "Using default client_",
    "No value provided in client_key_password",
    "Using API version",
    "templates",
    "DeprecationWarning",
    "UserWarning",
];

struct Day<'s> {
    stack: &'s Stack,
    differences: Vec<String>,
}

impl Day<'_> {
    fn tool(&self, whose: Implementation, name: &str, words: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command: Command = self.stack.command(&program(whose, name));
        command.args(words).envs(environment.iter().copied());
        said(self.stack, &run(&mut command, LIMIT).unwrap())
    }

    fn tenant(&self, whose: Implementation, words: &[&str]) -> Said {
        self.tool(whose, "keylime_tenant", words, &[])
    }

    /// Runs commands one after the other, by the peer and then by us, each from the same state.
    fn compare(&mut self, commands: &[&[&str]]) {
        let runs = [Implementation::Peer, Implementation::Ours].map(|whose| {
            let answers: Vec<Said> = commands.iter().map(|words| self.tenant(whose, words)).collect();
            self.clean();
            answers
        });
        let [peers, ours] = runs;
        for ((words, peer), our) in commands.iter().zip(peers).zip(ours) {
            self.judge(&words.join(" "), &peer, &our);
        }
    }

    fn judge(&mut self, what: &str, peer: &Said, our: &Said) {
        if peer != our {
            let text = |said: &Said| format!("{:?}\n      {}", said.code, said.lines.join("\n      "));
            self.differences.push(format!("{what}\n  peer {}\n  ours {}", text(peer), text(our)));
        }
    }

    fn clean(&self) {
        for words in [
            vec!["-c", "delete", "-u", &self.stack.settings.agent_id],
            vec!["-c", "deleteruntimepolicy", "--runtime-policy-name", "day"],
            vec!["-c", "deletembpolicy", "--mb-policy-name", "day"],
        ] {
            self.tenant(Implementation::Ours, &words);
        }
    }
}

#[test]
fn commands_and_mistakes_are_answered_alike() {
    let mut stack = Stack::prepare(|_| {}).unwrap();
    peer::ensure().unwrap();
    stack.start_all(Implementation::Ours, Implementation::Ours).unwrap();
    let directory = stack.dir().display().to_string();
    let file = |name: &str, content: &[u8]| {
        let path = stack.dir().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let policy = stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
    let (no_json, empty) = (file("no.json", b"{ this is no json"), file("empty", b""));
    let (object, list) = (file("object.json", b"{}"), file("list.json", b"[]"));
    let (binary, text) = (file("binary", b"\x00\xff\xfe"), file("text", b"a payload\n"));
    let (big, boot) = (file("big", &vec![7; 2_000_000]), file("boot.json", b"{\"a\": 1}"));
    let (allowlist, exclude) = (file("allow.txt", b"0123  /bin/x\n"), file("exclude.txt", b"/tmp/.*\n"));
    let bad_exclude = file("bad-exclude.txt", b"(\n");
    let missing = format!("{directory}/missing");
    let id = stack.settings.agent_id.clone();
    let (u, t) = (["-u", id.as_str()], ["-t", "127.0.0.1"]);
    let mut day = Day { stack: &stack, differences: Vec::new() };

    let add = |more: &[&'static str], files: &[&str]| -> Vec<String> {
        let words = ["-c", "add"].iter().chain(&t).chain(&u).copied().chain(more.iter().copied());
        words.map(str::to_owned).chain(files.iter().map(|f| (*f).to_owned())).collect()
    };
    let mut mistakes: Vec<Vec<String>> = Vec::new();
    for bad in [&missing, &directory, &no_json, &empty, &object, &list, &binary] {
        mistakes.push(add(&["--runtime-policy"], &[bad]));
        mistakes.push(add(&["--mb-policy"], &[bad]));
    }
    for bad in [&missing, &directory, &big] {
        mistakes.push(add(&["-f"], &[bad]));
    }
    for bad in [&missing, &directory, &text, &empty] {
        mistakes.push(add(&["-p"], &[&text, "-k", bad]));
        mistakes.push(add(&["--runtime-policy-sig-key"], &[bad, "--runtime-policy", &policy]));
        mistakes.push(add(&["--signature-verification-key"], &[bad]));
    }
    for bad in [&missing, &directory] {
        mistakes.push(add(&["--allowlist"], &[bad]));
        mistakes.push(add(&["--allowlist"], &[&allowlist, "--exclude", bad]));
        mistakes.push(add(&["--include"], &[bad]));
    }
    for words in [
        vec!["--allowlist", &allowlist, "--exclude", &bad_exclude],
        vec!["--exclude", &exclude],
        vec!["--tpm_policy", "no json"],
        vec!["--tpm_policy", "[]"],
        vec!["--tpm_policy", "{\"99\": \"aa\"}"],
        vec!["--tpm_policy", "{\"16\": \"aa\"}"],
        vec!["--tpm_policy", "{\"10\": \"aa\"}", "--runtime-policy", &policy],
        vec!["--verify"],
        vec!["-f", &text, "--cert", &directory],
        vec!["--cert", &text],
        vec!["--runtime-policy-url", "http://127.0.0.1:1/p"],
        vec!["--runtime-policy-url", "http://127.0.0.1:1/p", "--runtime-policy-checksum", "00"],
        vec!["--runtime-policy", &policy, "--runtime-policy-checksum", "00"],
        vec!["--runtime-policy-checksum", "00"],
        vec!["--runtime-policy-name", "nobody-stored-it"],
        vec!["--mb-policy-name", "nobody-stored-it"],
        vec!["-tp", "1"],
        vec!["-v", "127.0.0.1", "-vp", "1"],
        vec!["-r", "127.0.0.1", "-rp", "1"],
        vec!["-vp", "port"],
        vec!["--agent-api-version", "9.9"],
        vec!["-c", "nonsense"],
        vec!["--nonsense"],
        vec!["-u", "bad id"],
        vec!["-u", "../x"],
        vec!["-u", UNKNOWN],
    ] {
        mistakes.push(add(&[], &words));
    }
    for mistake in &mistakes {
        let words: Vec<&str> = mistake.iter().map(String::as_str).collect();
        day.compare(&[&words]);
    }
    for command in ["status", "cvstatus", "regstatus", "delete", "regdelete", "reactivate", "update"] {
        day.compare(&[&["-c", command, "-u", UNKNOWN]]);
    }
    day.compare(&[&["-c", "delete", "-nvc", "-u", UNKNOWN]]);
    day.compare(&[&["-c", "reactivate", "-nvc", "-u", UNKNOWN]]);
    for command in ["cvlist", "reglist", "bulkinfo", "cvstatus"] {
        day.compare(&[&["-c", command, "-vp", "1", "-rp", "1"]]);
    }

    let name = ["--runtime-policy-name", "day"];
    day.compare(&[
        &["-c", "addruntimepolicy", "--runtime-policy", &policy],
        &["-c", "addruntimepolicy", name[0], name[1]],
        &["-c", "addruntimepolicy", name[0], name[1], "--runtime-policy", &missing],
        &["-c", "addruntimepolicy", name[0], name[1], "--runtime-policy", &object],
        &["-c", "showruntimepolicy", name[0], name[1]],
        &["-c", "updateruntimepolicy", name[0], name[1], "--runtime-policy", &policy],
        &["-c", "deleteruntimepolicy", name[0], name[1]],
        &["-c", "addruntimepolicy", name[0], name[1], "--runtime-policy", &policy],
        &["-c", "addruntimepolicy", name[0], name[1], "--runtime-policy", &policy],
        &["-c", "updateruntimepolicy", name[0], name[1], "--runtime-policy", &policy],
        &["-c", "updateruntimepolicy", name[0], name[1]],
        &["-c", "showruntimepolicy", name[0], name[1]],
        &["-c", "listruntimepolicy"],
        &["-c", "showruntimepolicy"],
        &["-c", "deleteruntimepolicy"],
        &["-c", "showallowlist", "--allowlist-name", "day"],
        &["-c", "deleteruntimepolicy", name[0], name[1]],
        &["-c", "listruntimepolicy"],
    ]);
    let name = ["--mb-policy-name", "day"];
    day.compare(&[
        &["-c", "addmbpolicy", "--mb-policy", &boot],
        &["-c", "addmbpolicy", name[0], name[1]],
        &["-c", "addmbpolicy", name[0], name[1], "--mb-policy", &missing],
        &["-c", "addmbpolicy", name[0], name[1], "--mb-policy", &no_json],
        &["-c", "showmbpolicy", name[0], name[1]],
        &["-c", "updatembpolicy", name[0], name[1], "--mb-policy", &boot],
        &["-c", "addmbpolicy", name[0], name[1], "--mb-policy", &boot],
        &["-c", "addmbpolicy", name[0], name[1], "--mb-policy", &boot],
        &["-c", "updatembpolicy", name[0], name[1], "--mb-policy", &boot],
        &["-c", "showmbpolicy", name[0], name[1]],
        &["-c", "listmbpolicy"],
        &["-c", "showmbpolicy"],
        &["-c", "deletembpolicy"],
        &["-c", "deletembpolicy", name[0], name[1]],
        &["-c", "deletembpolicy", name[0], name[1]],
    ]);

    for (variable, value) in [
        ("KEYLIME_TENANT_CLIENT_CERT", missing.as_str()),
        ("KEYLIME_TENANT_CLIENT_KEY", missing.as_str()),
        ("KEYLIME_TENANT_CLIENT_KEY", text.as_str()),
        ("KEYLIME_TENANT_CLIENT_CERT", text.as_str()),
        ("KEYLIME_TENANT_TRUSTED_SERVER_CA", "['missing.crt']"),
        ("KEYLIME_TENANT_TLS_DIR", "generate"),
        ("KEYLIME_TENANT_TLS_DIR", "missing"),
        ("KEYLIME_TENANT_VERIFIER_PORT", "1"),
        ("KEYLIME_TENANT_MAX_RETRIES", "many"),
        ("KEYLIME_TENANT_CONFIG", missing.as_str()),
    ] {
        let answers = [Implementation::Peer, Implementation::Ours]
            .map(|whose| day.tool(whose, "keylime_tenant", &["-c", "cvlist"], &[(variable, value)]));
        day.judge(&format!("{variable}={value} cvlist"), &answers[0], &answers[1]);
    }
    for (tool, words) in [
        ("keylime_ca", vec!["-c", "create", "-n", "x", "-d", &missing]),
        ("keylime_ca", vec!["-c", "create", "-d", &directory]),
        ("keylime_ca", vec!["-c", "pkg", "-n", "nobody", "-d", &directory]),
        ("keylime_ca", vec!["-c", "revoke", "-n", "nobody", "-d", &directory]),
        ("keylime_ca", vec!["-c", "nonsense", "-d", &directory]),
        ("keylime_ca", vec!["-c", "create", "-n", "x", "-d", &text]),
        ("keylime_ca", vec!["-c", "init", "-d", &text]),
        ("keylime_ca", vec![]),
        ("keylime_userdata_encrypt", vec![]),
        ("keylime_userdata_encrypt", vec![&missing]),
        ("keylime_userdata_encrypt", vec![&directory]),
        ("keylime_userdata_encrypt", vec![&empty, "extra"]),
    ] {
        let answers = [Implementation::Peer, Implementation::Ours].map(|whose| day.tool(whose, tool, &words, &[]));
        day.judge(&format!("{tool} {}", words.join(" ")), &answers[0], &answers[1]);
    }
    let differences = day.differences;
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
