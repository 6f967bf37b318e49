//! Finding and running the actions of a revocation (`agent-api.md` §5).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::configuration::list_syntax::{InvalidList, parse_list};
use crate::configuration::settings::RevocationSettings;
use crate::payload::run::{ACTION_LIST, UNZIPPED};

/// Most bytes of an action's output that reach the log.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
/// Runs actions written as Python modules, where the administrator has installed one.
const PYTHON_RUNNER: &str = "shim.py";
/// The runner that is used where none is installed.
const BUILT_IN_RUNNER: &str = include_str!("../../shim.py");
/// What the built-in runner is run with.
const PYTHON: &str = "python3";

/// Why the actions were not run, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The payload's list is malformed.
    #[error("action_list: {0}")]
    List(#[from] InvalidList),
    /// A name would be looked up elsewhere.
    #[error("revocation action {0:?} is not a file name")]
    Name(String),
    /// There is no such action.
    #[error("revocation action {0:?} not found")]
    Missing(String),
    /// A file or process cannot be used.
    #[error("cannot {action} for a revocation: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The action failed.
    #[error("revocation action {name:?} failed with {status}")]
    Failed {
        /// The action.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
}

/// How an action is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A program.
    Program(PathBuf),
    /// A Python module in `directory`, run by the shim.
    PythonModule {
        /// The installed shim; without one the built-in one is used.
        runner: Option<PathBuf>,
        /// Where the module is.
        directory: PathBuf,
    },
}

/// Where actions are looked for.
#[derive(Debug, Clone)]
pub struct ActionRunner {
    settings: RevocationSettings,
    keylime_dir: PathBuf,
    unzipped: PathBuf,
}

impl ActionRunner {
    /// A runner for this configuration.
    #[must_use]
    pub fn new(settings: RevocationSettings, keylime_dir: &Path, secure: &Path) -> Self {
        Self { settings, keylime_dir: keylime_dir.to_owned(), unzipped: secure.join(UNZIPPED) }
    }

    /// Runs every configured action, then those the payload lists; the first failure ends it.
    ///
    /// # Errors
    /// See [`ActionError`].
    pub async fn run_all(&self, notice: &Value) -> Result<(), ActionError> {
        for name in self.names()? {
            let action = self.find(&name)?;
            self.run(&name, &action, notice).await?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, ActionError> {
        let mut names = self.settings.actions.clone();
        let list = self.unzipped.join(ACTION_LIST);
        if self.settings.allow_payload_actions && list.is_file() {
            let text = std::fs::read_to_string(&list)
                .map_err(|source| ActionError::Io { action: "read action_list", source })?;
            names.extend(parse_list(&text)?);
        }
        Ok(names)
    }

    /// Looks a name up: programs before Python modules, the administrator's directory before the payload's.
    fn find(&self, name: &str) -> Result<Action, ActionError> {
        if name.contains('/') || name == "." || name == ".." {
            return Err(ActionError::Name(name.to_owned()));
        }
        let payload = self.settings.allow_payload_actions.then_some(&self.unzipped);
        let directories = || std::iter::once(&self.settings.actions_dir).chain(payload);
        if let Some(program) = directories().map(|directory| directory.join(name)).find(|path| path.is_file()) {
            return Ok(Action::Program(program));
        }
        let runner = Some(self.settings.actions_dir.join(PYTHON_RUNNER)).filter(|runner| runner.is_file());
        let module = Path::new(name).with_extension("py");
        directories()
            .find(|directory| directory.join(&module).is_file())
            .map(|directory| Action::PythonModule { runner, directory: directory.clone() })
            .ok_or_else(|| ActionError::Missing(name.to_owned()))
    }

    async fn run(&self, name: &str, action: &Action, notice: &Value) -> Result<(), ActionError> {
        let failed = |action| move |source| ActionError::Io { action, source };
        let file = self.notice_file(notice).map_err(failed("write the notice"))?;
        let mut command = match action {
            Action::Program(path) => Command::new(path),
            Action::PythonModule { runner, directory } => {
                let mut command = match runner {
                    Some(runner) => Command::new(runner),
                    None => {
                        let mut command = Command::new(PYTHON);
                        command.args(["-c", BUILT_IN_RUNNER]);
                        command
                    }
                };
                command.arg(module_name(name)).env("PYTHONPATH", directory).env("KEYLIME_DIR", &self.keylime_dir);
                command
            }
        };
        command.arg(file.path()).current_dir(&self.keylime_dir).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        tracing::info!(target: "keylime.agent", "Executing revocation action {name}");
        let mut child = command.spawn().map_err(failed("start an action"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, status) = tokio::join!(captured(stdout), captured(stderr), child.wait());
        let status = status.map_err(failed("wait for an action"))?;
        if !stdout.is_empty() {
            tracing::info!(target: "keylime.agent", action = name, "{stdout}");
        }
        if !stderr.is_empty() {
            tracing::warn!(target: "keylime.agent", action = name, "{stderr}");
        }
        if status.success() { Ok(()) } else { Err(ActionError::Failed { name: name.to_owned(), status }) }
    }

    /// The notice in a file of its own, gone when the action has ended.
    fn notice_file(&self, notice: &Value) -> std::io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix("revocation-").suffix(".json").tempfile_in(&self.keylime_dir)?;
        file.write_all(sorted(notice).to_string().as_bytes())?;
        file.flush()?;
        Ok(file)
    }
}

/// The name a Python module is imported by: without its extension, should the list give one.
fn module_name(name: &str) -> &str {
    name.strip_suffix(".py").unwrap_or(name)
}

/// What a stream brings, as one text for the log, up to a bound; the rest is read and thrown away so that the action does
/// not block.
async fn captured(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    let _ = (&mut stream).take(MAX_OUTPUT_BYTES).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}

/// The same value with the members of every object in alphabetical order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names = members.iter().collect::<Vec<_>>();
            names.sort_by_key(|(name, _)| *name);
            Value::Object(names.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Place {
        root: tempfile::TempDir,
        runner: ActionRunner,
    }

    fn place(actions: &[&str], allow_payload_actions: bool) -> Place {
        let root = tempfile::tempdir().unwrap();
        for directory in ["actions", "secure/unzipped", "work"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let settings = RevocationSettings {
            enable_notifications: false,
            notification_ip: "127.0.0.1".to_owned(),
            notification_port: 8992,
            certificate: PathBuf::new(),
            actions: actions.iter().map(ToString::to_string).collect(),
            actions_dir: root.path().join("actions"),
            allow_payload_actions,
        };
        let runner = ActionRunner::new(settings, &root.path().join("work"), &root.path().join("secure"));
        Place { root, runner }
    }

    fn script(place: &Place, path: &str, text: &str) {
        let path = place.root.path().join(path);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[tokio::test]
    async fn actions_get_the_notice_as_a_sorted_file() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/data/revocation.json")).unwrap();
        let body: Value = serde_json::from_str(vectors["agent_request_body"].as_str().unwrap()).unwrap();
        let notice: Value = serde_json::from_str(body["msg"].as_str().unwrap()).unwrap();
        let place = place(&["own"], true);
        script(&place, "actions/own", "cp \"$1\" got-own; pwd > where");
        script(&place, "secure/unzipped/local_action_x", "cp \"$1\" got-payload");
        std::fs::write(place.root.path().join("secure/unzipped/action_list"), "local_action_x\n").unwrap();
        place.runner.run_all(&notice).await.unwrap();
        let got = |name: &str| std::fs::read_to_string(place.root.path().join("work").join(name)).unwrap();
        assert_eq!(got("got-own"), vectors["file_given_to_action"].as_str().unwrap());
        assert_eq!(got("got-payload"), got("got-own"));
        assert_eq!(std::fs::read_dir(place.root.path().join("work")).unwrap().count(), 3);
    }

    #[tokio::test]
    async fn the_first_failure_ends_it() {
        let place = place(&["bad", "later"], true);
        script(&place, "actions/bad", "exit 4");
        script(&place, "actions/later", "touch ran");
        let error = place.runner.run_all(&Value::Null).await.unwrap_err();
        assert!(matches!(error, ActionError::Failed { .. }), "{error}");
        assert!(!place.root.path().join("work/ran").exists());
    }

    #[tokio::test]
    async fn payload_actions_can_be_forbidden_and_paths_are_not_names() {
        let forbidding = place(&["only_in_payload"], false);
        script(&forbidding, "secure/unzipped/only_in_payload", "true");
        assert!(matches!(forbidding.runner.run_all(&Value::Null).await, Err(ActionError::Missing(_))));
        let climbing = place(&["../secure/unzipped/x"], true);
        assert!(matches!(climbing.runner.run_all(&Value::Null).await, Err(ActionError::Name(_))));
    }

    #[test]
    fn an_installed_shim_is_preferred() {
        let place = place(&[], true);
        script(&place, "secure/unzipped/module.py", "");
        assert!(matches!(place.runner.find("module"), Ok(Action::PythonModule { runner: None, .. })));
        script(&place, "actions/shim.py", "");
        assert!(matches!(place.runner.find("module"), Ok(Action::PythonModule { runner: Some(_), .. })));
        assert!(matches!(place.runner.find("absent"), Err(ActionError::Missing(_))));
    }

    /// Keylime's user guide, chapter 2.10.3, with the place of the keys changed.
    const SAMPLE: &str = r#"
import os
import json
import keylime.ca_util as ca_util
import keylime.secure_mount as secure_mount

async def execute(event):
    if event['type'] != 'revocation':
        return

    json_meta = json.loads(event['meta_data'])
    serial = json_meta['cert_serial']

    # load up my own cert
    secdir = secure_mount.mount()
    mycert = ca_util.load_cert_by_path(f'{secdir}/unzipped/mycert.crt')

    # is this revocation meant for me?
    if serial == mycert.serial_number:
        os.remove("payload_id_rsa")
        os.remove("payload_id_rsa.pub")
"#;

    #[tokio::test]
    async fn the_documented_python_action_runs_unchanged() {
        let place = place(&[], true);
        let root = place.root.path();
        // As in the field, the secure directory is below the working directory.
        std::fs::rename(root.join("secure"), root.join("work/secure")).unwrap();
        let runner = ActionRunner { unzipped: root.join("work/secure").join(UNZIPPED), ..place.runner.clone() };
        let unzipped = root.join("work/secure/unzipped");
        std::fs::write(unzipped.join("local_action_rm_ssh.py"), SAMPLE).unwrap();
        std::fs::write(unzipped.join("action_list"), "local_action_rm_ssh").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(rcgen::SerialNumber::from(4711));
        std::fs::write(unzipped.join("mycert.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let keys = ["payload_id_rsa", "payload_id_rsa.pub"].map(|name| root.join("work").join(name));
        keys.iter().for_each(|key| std::fs::write(key, "key").unwrap());

        let notice = |kind: &str, serial: u32| serde_json::json!({"type": kind, "meta_data": format!("{{\"cert_serial\": {serial}}}")});
        for other in [notice("comm_error", 4711), notice("revocation", 4712)] {
            runner.run_all(&other).await.unwrap();
            assert!(keys.iter().all(|key| key.exists()));
        }
        runner.run_all(&notice("revocation", 4711)).await.unwrap();
        assert!(!keys.iter().any(|key| key.exists()));
        // The keys are gone, so removing them once more raises, and that is a failure.
        assert!(matches!(runner.run_all(&notice("revocation", 4711)).await, Err(ActionError::Failed { .. })));
    }
}
