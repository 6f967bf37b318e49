//! Time and memory of one program from its start to its end.
//!
//! The system adds up memory over all children of a process, and a child begins with the peak of its parent (`getrusage(2)`).
//! So each program is the only child of a small process of its own: this program again, with the task `measure`.

use crate::fleet::FleetError;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a program needed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// From its start to its end.
    pub seconds: f64,
    /// User and system time.
    pub cpu_seconds: f64,
    /// The largest resident memory of it or one of its children.
    pub peak_bytes: u64,
}

/// Runs a program in a process of its own that does nothing else.
///
/// # Errors
/// It cannot be started, or fails; the message holds the end of what it said.
pub fn measure(command: &Command, output: &Path) -> Result<Cost, FleetError> {
    let mut measuring = Command::new(std::env::current_exe()?);
    measuring.arg("measure").arg("--output").arg(output).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measuring.env(name, value),
            None => measuring.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        measuring.current_dir(directory);
    }
    let ended = measuring.stdin(Stdio::null()).output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let end: Vec<&str> = said.lines().rev().take(8).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        return Err(FleetError::Setup(format!("{command:?} failed:\n{}", end.join("\n"))));
    }
    serde_json::from_slice(&ended.stdout).map_err(|e| FleetError::Setup(format!("{command:?}: {e}")))
}

/// Runs a program, the only child of this process, and answers what it needed.
///
/// # Errors
/// It cannot be started or fails.
pub fn run_only_child(command: &[OsString], output: &Path) -> io::Result<Cost> {
    let [program, arguments @ ..] = command else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut child = Command::new(program);
    child.args(arguments).stdout(File::create(output)?);
    let start = Instant::now();
    let status = child.status()?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(io::Error::other(format!("ended with {status}")));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let peak_bytes = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
    Ok(Cost { seconds, cpu_seconds: cpu(usage.user_time()) + cpu(usage.system_time()), peak_bytes })
}

/// The run with the median time; `None` without runs.
#[must_use]
pub fn median(mut costs: Vec<Cost>) -> Option<Cost> {
    costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let middle = costs.len().checked_sub(1)? / 2;
    costs.get(middle).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_measured_and_its_output_kept() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out");
        let words = ["sh", "-c", "echo said; sleep 0.05"].map(OsString::from);
        let cost = run_only_child(&words, &output).unwrap();
        assert!(cost.seconds >= 0.05 && cost.cpu_seconds < cost.seconds && cost.peak_bytes > 0);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "said\n");
        assert!(run_only_child(&["false".into()], &output).is_err());
    }

    #[test]
    fn the_median_is_the_middle_run() {
        let cost = |seconds| Cost { seconds, cpu_seconds: 0.0, peak_bytes: 1 };
        assert_eq!(median(vec![cost(9.0), cost(1.0), cost(2.0)]), Some(cost(2.0)));
        assert_eq!(median(Vec::new()), None);
    }
}
