//! An operator's commands, the mistaken ones above all, given to Keylime 7.14.3's tools and to ours, against the same servers:
//! exit codes are equal, and so is everything on standard output that is neither a log line nor one of Python's tracebacks.
//! The words of errors and of help are our own.

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

/// What a run comes down to for a script.
#[derive(Debug, PartialEq)]
struct Said {
    code: Option<i32>,
    /// Standard output without log lines, tracebacks and help.
    lines: Vec<String>,
}

fn said(stack: &Stack, finished: &Finished) -> Said {
    let directory = stack.dir().display().to_string();
    let mut lines = Vec::new();
    let mut in_traceback = false;
    for line in finished.stdout.lines().map(str::trim_end) {
        if is_logged(line) {
            in_traceback = false;
        } else if line.starts_with("usage: ") {
            // What follows are descriptions in each one's own words.
            lines.push("usage".to_owned());
            break;
        } else if line.starts_with("Traceback (most recent call last)") {
            in_traceback = true;
        } else if !in_traceback && !line.is_empty() {
            lines.extend(comparable(line, &directory));
        }
    }
    Said { code: finished.code, lines }
}

/// A line without what differs from run to run; nothing for the reference's advice, which is a log line with us.
fn comparable(line: &str, directory: &str) -> Option<String> {
    let advice = ["attempting to convert to IMA policy from flat file format", "Please use \"keylime_upgrade_config"];
    if advice.iter().any(|advice| line.contains(advice)) {
        None
    } else if line.contains("'results': {'quote': '") {
        Some("a quote with its own nonce".to_owned())
    } else if line.contains("{\"operational_state\": ") {
        Some("a status, of an agent that goes on meanwhile".to_owned())
    } else {
        Some(line.replace(directory, "DIR"))
    }
}

/// Whether a line is one of `logging.conf`'s, or of those that Python prints before its logging is set up.
fn is_logged(line: &str) -> bool {
    let is_dated = line.as_bytes().get(..5).is_some_and(|year| year.starts_with(b"20") && year[4] == b'-');
    is_dated && line.contains(" - ") || line.starts_with("INFO:keylime.config")
}

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
    // What is away stays away: no need to wait for it.
    let mut stack =
        Stack::prepare(|settings| settings.tenant.push(("max_retries".to_owned(), "1".to_owned()))).unwrap();
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
    let own_key_lengths = [&text, &empty];
    for bad in [&missing, &directory, &text, &empty] {
        // A key of a wrong length is taken by the reference, whose agent cannot decrypt with it then.
        if !own_key_lengths.contains(&bad) {
            mistakes.push(add(&["-p"], &[&text, "-k", bad]));
        }
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
    for key in own_key_lengths {
        let words = add(&["-p"], &[&text, "-k", key]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let codes = [Implementation::Peer, Implementation::Ours].map(|whose| {
            let code = day.tenant(whose, &words).code;
            day.clean();
            code
        });
        assert_eq!(codes, [Some(0), Some(1)], "{key}");
    }
    let differences = day.differences;
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
