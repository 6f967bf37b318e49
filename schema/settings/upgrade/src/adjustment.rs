//! What a mapping cannot say: values that have to take another form. For the first split format it is built in; a changed or
//! further `adjust.py` of an operator runs in Python.

use crate::builtin_templates::ADJUST_SCRIPT;
use crate::document::{Document, Ordered};
use crate::error::UpgradeError;
use crate::journal::{Detail, Journal};
use crate::python_list::as_list;
use serde_json::{Value, json};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RUNNER: &str = include_str!("../python/run_adjustment.py");
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
const FORMAT: &str = "2.0";

const LISTS: [(&str, &[&str]); 5] = [
    ("agent", &["trusted_client_ca", "revocation_actions"]),
    ("verifier", &["trusted_server_ca", "severity_labels", "severity_policy", "measured_boot_imports"]),
    ("revocations", &["enabled_revocation_notifications"]),
    ("tenant", &["trusted_server_ca", "accept_tpm_hash_algs", "accept_tpm_encryption_algs", "accept_tpm_signing_algs"]),
    ("registrar", &["trusted_client_ca"]),
];
const AGENT_SWITCHES: [&str; 5] = [
    "enable_agent_mtls",
    "extract_payload_zip",
    "enable_revocation_notifications",
    "enable_insecure_payload",
    "exponential_backoff",
];
const GENERATED: [(&str, &[&str]); 2] = [
    ("verifier", &["server_cert", "server_key", "trusted_client_ca", "client_cert", "client_key", "trusted_server_ca"]),
    ("registrar", &["server_cert", "server_key", "trusted_client_ca"]),
];
const BOTH_AUTHORITIES: &str = "['/var/lib/keylime/cv_ca/cacert.crt', '/var/lib/keylime/reg_ca/cacert.crt']";

/// What follows a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjustment {
    /// Nothing.
    None,
    /// The built-in one of format 2.0.
    BuiltIn,
    /// A script of the operator.
    Script(PathBuf),
}

impl Adjustment {
    /// The adjustment of a directory of templates; the shipped script is not run, as what it does is built in.
    #[must_use]
    pub fn of_directory(directory: &Path) -> Self {
        let path = directory.join("adjust.py");
        if !path.is_file() {
            return Self::None;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) if text == ADJUST_SCRIPT => Self::BuiltIn,
            Ok(_) | Err(_) => Self::Script(std::path::absolute(&path).unwrap_or(path)),
        }
    }

    /// Adjusts a document. A script that fails is reported, and leaves the document as it was.
    ///
    /// # Errors
    /// There is no Python to run a script.
    pub fn apply(&self, document: &mut Document, mapping: &Value, journal: &Journal) -> Result<(), UpgradeError> {
        match self {
            Self::None => Ok(()),
            Self::BuiltIn => {
                adjust(document);
                Ok(())
            }
            Self::Script(path) => {
                journal.debug(&format!("Applying adjustment from {}", path.display()));
                match run(path, document, mapping, journal) {
                    Ok(adjusted) => *document = adjusted,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(UpgradeError::NoPython(path.clone()));
                    }
                    Err(error) => {
                        journal.warning(&format!("Failed while running adjustment from {}: {error}", path.display()))
                    }
                }
                Ok(())
            }
        }
    }
}

fn run(script: &Path, document: &Document, mapping: &Value, journal: &Journal) -> io::Result<Document> {
    let level = if journal.detail() == Detail::Debug { "DEBUG" } else { "INFO" };
    let request = json!({"script": script, "config": document.to_json(), "mapping": mapping, "level": level});
    let mut child =
        Command::new("python3").args(["-B", "-c", RUNNER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("no pipe to python3"))?;
    // The runner reads all of its input before it writes: one after the other cannot block.
    let sent = input.write_all(request.to_string().as_bytes());
    drop(input);
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("python3 ended with {status}")));
    }
    sent?;
    let Ordered(sections): Ordered<Ordered<String>> = serde_json::from_slice(&answer).map_err(io::Error::other)?;
    let mut adjusted = Document::default();
    for (name, section) in sections {
        adjusted.put(&name, section.0);
    }
    Ok(adjusted)
}

fn adjust(document: &mut Document) {
    let moved = |document: &Document, section: &str| document.get(section, "version") == Some(FORMAT);
    let is =
        |document: &Document, section: &str, option: &str, value: &str| document.get(section, option) == Some(value);
    let replacements = [
        ("verifier", "client_cert", "CV", "default"),
        ("verifier", "trusted_server_ca", "CV", "default"),
        ("verifier", "database_url", "", "sqlite"),
        ("registrar", "tls_dir", "CV", "default"),
        ("registrar", "database_url", "", "sqlite"),
    ];
    for (section, option, old, new) in replacements {
        if moved(document, section) && is(document, section, option, old) {
            document.set(section, option, new);
        }
    }
    for (section, options) in LISTS {
        for option in options.iter().filter(|_| moved(document, section)).copied().collect::<Vec<_>>() {
            if let Some(list) = document.get(section, option).map(as_list) {
                document.set(section, option, list);
            }
        }
    }
    for option in AGENT_SWITCHES {
        if let Some(switch) = document.get("agent", option).filter(|_| moved(document, "agent")) {
            let switch = switch.to_lowercase();
            document.set("agent", option, switch);
        }
    }
    for (section, options) in GENERATED {
        if moved(document, section) && is(document, section, "tls_dir", "generate") {
            options.iter().for_each(|option| document.set(section, option, "default"));
        }
    }
    let is_default = ["tls_dir", "trusted_server_ca"].iter().all(|option| is(document, "tenant", option, "default"));
    let generated = ["verifier", "registrar"].iter().all(|server| is(document, server, "tls_dir", "generate"));
    if moved(document, "tenant") && is_default && generated {
        document.set("tenant", "trusted_server_ca", BOTH_AUTHORITIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_not_ours_runs_in_python_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("adjust.py");
        let mut document = Document::default();
        document.set("a", "x", "1");
        let journal = Journal::new(Detail::Quiet);
        let mapping = json!({"version": "2.0"});
        std::fs::write(
            &script,
            "def adjust(config, mapping):\n    print('noise')\n    config['a']['x'] += mapping['version']\n",
        )
        .unwrap();
        let adjustment = Adjustment::of_directory(directory.path());
        assert!(matches!(adjustment, Adjustment::Script(_)));
        adjustment.apply(&mut document, &mapping, &journal).unwrap();
        assert_eq!(document.get("a", "x"), Some("12.0"));
        std::fs::write(&script, "raise SystemExit(3)\n").unwrap();
        Adjustment::of_directory(directory.path()).apply(&mut document, &mapping, &journal).unwrap();
        assert_eq!(document.get("a", "x"), Some("12.0"));
        std::fs::write(&script, ADJUST_SCRIPT).unwrap();
        assert_eq!(Adjustment::of_directory(directory.path()), Adjustment::BuiltIn);
    }

    #[test]
    fn the_shipped_script_and_the_built_in_adjustment_agree() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script.py");
        std::fs::write(&script, ADJUST_SCRIPT).unwrap();
        let journal = Journal::new(Detail::Quiet);
        for (tls, list, version) in [
            ("generate", "[agent]", "2.0"),
            ("CV", "('a', \"it's\")", "2.0"),
            ("default", "['x']", "2.0"),
            ("CV", "a", "2.1"),
        ] {
            let mut document = Document::default();
            for section in ["agent", "verifier", "revocations", "tenant", "registrar", "ca"] {
                document.set(section, "version", version);
                document.set(section, "tls_dir", tls);
                document.set(section, "database_url", "");
                document.set(section, "enable_agent_mtls", "True");
            }
            for (section, options) in LISTS {
                options.iter().for_each(|option| document.set(section, option, list));
            }
            document.set("verifier", "client_cert", "CV");
            document.set("tenant", "tls_dir", "default");
            document.set("tenant", "trusted_server_ca", "default");
            let mut ours = document.clone();
            Adjustment::BuiltIn.apply(&mut ours, &json!({}), &journal).unwrap();
            Adjustment::Script(script.clone()).apply(&mut document, &json!({}), &journal).unwrap();
            assert_eq!(ours, document, "{tls} {list} {version}");
        }
    }
}
