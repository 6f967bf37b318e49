//! A server that lives as long as its owner, and no longer, however the owner ends.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs the server in the background until standard input ends, which is also what the kernel does to it when the owner
/// is killed; then stops the server by its process id and removes its directory.
const GUARD: &str = r#"signal="$1"; directory="$2"; shift 2
"$@" & server=$!
cat > /dev/null
kill -s "$signal" "$server" 2> /dev/null
wait "$server" 2> /dev/null
rm -rf "$directory""#;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("{program} is missing; install it with: apt-get install {package}")]
    Missing { program: String, package: &'static str },
    #[error("{program}: {source}")]
    Run { program: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("{program} did not answer within {seconds} s: {log}")]
    Silent { program: String, seconds: u64, log: String },
}

/// The account a server runs under. Database servers refuse to run as root, so root hands them to their own account.
#[derive(Debug, Clone, Copy)]
pub struct Account(Option<(u32, u32)>);

/// A running server and its directory; dropping it stops the one and removes the other.
#[derive(Debug)]
pub struct ServerProcess {
    guard: Child,
    directory: PathBuf,
}

impl Account {
    /// The account of this name when running as root, else the account of this process.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self(None);
        }
        let user = nix::unistd::User::from_name(name).ok().flatten();
        Self(user.map(|user| (user.uid.as_raw(), user.gid.as_raw())))
    }

    /// Makes a fresh directory that the account owns.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn directory(self, prefix: &str) -> io::Result<TempDir> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp")?;
        if let Some((uid, gid)) = self.0 {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid))?;
        }
        Ok(directory)
    }

    /// A command that the account runs.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/tmp");
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be run, or ends with an error.
    pub fn run(self, program: &Path, arguments: &[&str]) -> Result<String, StartError> {
        finish(self.command(program).args(arguments))
    }
}

impl ServerProcess {
    /// Starts `program` as `account`; `signal` stops it. The directory is removed after it ended.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(
        account: Account,
        directory: TempDir,
        signal: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Run { program: program.display().to_string(), source };
        let log = std::fs::File::create(directory.path().join("server.log")).map_err(failed)?;
        let guard = account
            .command(Path::new("/bin/sh"))
            .args(["-c", GUARD, "guard", signal])
            .arg(directory.path())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self { guard, directory: directory.keep() })
    }

    /// Waits until `ready` succeeds.
    ///
    /// # Errors
    /// It does not within the time, or the server ended.
    pub fn wait_until(&self, program: &Path, limit: Duration, ready: impl Fn() -> bool) -> Result<(), StartError> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if ready() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
        Err(StartError::Silent { program: program.display().to_string(), seconds: limit.as_secs(), log })
    }

    /// The server's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard ends after the server; there is nobody to tell if it cannot be waited for.
        let _ = self.guard.wait();
    }
}

/// The first of these files that exists.
///
/// # Errors
/// None does; the message names the Debian package.
pub fn installed(candidates: &[&str], package: &'static str) -> Result<PathBuf, StartError> {
    candidates.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| StartError::Missing {
        program: candidates.first().copied().unwrap_or_default().to_owned(),
        package,
    })
}

/// Runs a command and collects what it prints.
///
/// # Errors
/// It cannot be run, or ends with an error.
pub fn finish(command: &mut Command) -> Result<String, StartError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|source| StartError::Run { program: program.clone(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(StartError::Failed { program, output: text(&output.stderr) + &text(&output.stdout) })
    }
}
