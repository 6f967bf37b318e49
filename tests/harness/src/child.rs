//! A process that dies with its guard and whose output is kept in a file.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running process; dropping it ends the process and everything in its process group.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Guarded {
    /// Starts `command` in a process group of its own, with standard output and error appended to `log`.
    ///
    /// # Errors
    /// The program cannot be started; the message names it.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(|e| {
            io::Error::new(e.kind(), format!("cannot start {name} ({}): {e}", command.get_program().to_string_lossy()))
        })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Where the output is kept.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// The process ended first, or the time is over; the message holds the end of its output.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if ready() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(io::Error::other(format!("{} ended with {status}:\n{}", self.name, self.tail())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let message = format!("{} was not ready within {limit:?}:\n{}", self.name, self.tail());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    }

    /// Waits until the output holds `text`.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_output(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        let log = self.log.clone();
        self.wait_until(limit, || std::fs::read(&log).is_ok_and(|b| String::from_utf8_lossy(&b).contains(text)))
    }

    /// Waits until a TCP port of the loopback interface accepts.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_port(&mut self, port: u16, limit: Duration) -> io::Result<()> {
        self.wait_until(limit, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    /// Sends a signal by number to the process alone.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    /// Asks the process to end and waits for it; answers its exit code, `None` when a signal ended it.
    ///
    /// # Errors
    /// It did not end in time (and was killed).
    pub fn terminate(&mut self, limit: Duration) -> io::Result<Option<i32>> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} did not end within {limit:?}", self.name)))
    }

    /// Kills the process and its group at once.
    pub fn kill(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end and answers exit code, standard output and standard error.
///
/// # Errors
/// It cannot be started or does not end within `limit` (then it is killed).
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let program = command.get_program().to_string_lossy().into_owned();
    let dir = tempfile::tempdir()?;
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let mut child = command.spawn().map_err(|e| io::Error::new(e.kind(), format!("cannot start {program}: {e}")))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            let text = std::fs::read(&out).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{program} did not end within {limit:?}: {text}"),
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read = |path: &Path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok(Finished { code: status.code(), stdout: read(&out)?, stderr: read(&err)? })
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code, `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Whether `program` is found on the path.
#[must_use]
pub fn on_path(program: impl AsRef<OsStr>) -> bool {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs).chain(["/usr/sbin".into(), "/sbin".into()]).any(|d| d.join(program.as_ref()).is_file())
}
