//! When this machine booted.
//!
//! The kernel computes its boot time from the wall clock, so it moves when the clock is set. The verifier takes a later one for
//! a reboot and refuses an earlier one, so the first answer of a boot is kept beside the boot's id and given again.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::private_file;

/// File in the working directory that keeps the answer.
const FILE_NAME: &str = "boot_time.json";
/// Longest `stat` read, in bytes; machines with thousands of processors have long ones.
const MAX_STAT_BYTES: u64 = 4 << 20;
const MAX_BOOT_ID_BYTES: usize = 64;

/// Why the boot time is not known.
#[derive(Debug, thiserror::Error)]
pub enum BootTimeError {
    /// The kernel's statistics cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// They hold no boot time.
    #[error("{0} holds no boot time")]
    Absent(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    boot_time: i64,
}

/// The boot time in RFC 3339, the same for every run of the agent since the machine booted.
///
/// # Errors
/// See [`BootTimeError`].
pub fn boot_time(proc_path: &Path, keylime_dir: &Path) -> Result<String, BootTimeError> {
    let now = current(proc_path)?;
    let boot_id = boot_id(proc_path);
    let path = keylime_dir.join(FILE_NAME);
    let kept = private_file::read(&path).ok().flatten().and_then(|json| serde_json::from_slice::<Kept>(&json).ok());
    let seconds = match (&boot_id, kept) {
        (Some(id), Some(kept)) if kept.boot_id == *id => kept.boot_time,
        (Some(id), _) => {
            keep(&path, &Kept { boot_id: id.clone(), boot_time: now });
            now
        }
        (None, _) => now,
    };
    let text = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    text.ok_or_else(|| BootTimeError::Absent(stat_path(proc_path)))
}

fn keep(path: &Path, kept: &Kept) {
    let written = serde_json::to_vec(kept).map_err(io::Error::other).and_then(|json| private_file::write(path, &json));
    if let Err(error) = written {
        tracing::warn!(target: "keylime.agent", path = %path.display(), %error,
            "cannot keep the boot time; setting the clock back may make the verifier refuse this agent");
    }
}

fn stat_path(proc_path: &Path) -> String {
    proc_path.join("stat").display().to_string()
}

fn current(proc_path: &Path) -> Result<i64, BootTimeError> {
    let path = stat_path(proc_path);
    let mut text = String::new();
    fs::File::open(&path)
        .and_then(|file| io::Read::read_to_string(&mut io::Read::take(file, MAX_STAT_BYTES), &mut text))
        .map_err(|source| BootTimeError::Unreadable { path: path.clone(), source })?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|rest| rest.trim().parse().ok());
    seconds.ok_or(BootTimeError::Absent(path))
}

fn boot_id(proc_path: &Path) -> Option<String> {
    let text = fs::read_to_string(proc_path.join("sys/kernel/random/boot_id")).ok()?;
    let id = text.trim();
    (!id.is_empty() && id.len() <= MAX_BOOT_ID_BYTES).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(directory: &Path, boot_id: &str, btime: &str) {
        fs::create_dir_all(directory.join("sys/kernel/random")).unwrap();
        fs::write(directory.join("sys/kernel/random/boot_id"), format!("{boot_id}\n")).unwrap();
        fs::write(directory.join("stat"), format!("cpu 1 2 3\nctxt 7\nbtime {btime}\nprocesses 1\n")).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_does_not_move_the_boot() {
        let (proc, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = || boot_time(proc.path(), work.path()).unwrap();
        machine(proc.path(), "one", "1767225600");
        assert_eq!(read(), "2026-01-01T00:00:00Z");
        machine(proc.path(), "one", "1767225599");
        assert_eq!(read(), "2026-01-01T00:00:00Z");
        machine(proc.path(), "two", "1767225599");
        assert_eq!(read(), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn a_kernel_without_it_is_named() {
        let (proc, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(matches!(boot_time(proc.path(), work.path()), Err(BootTimeError::Unreadable { .. })));
        for wrong in ["", "soon", "99999999999999999"] {
            machine(proc.path(), "one", wrong);
            assert!(matches!(boot_time(proc.path(), work.path()), Err(BootTimeError::Absent(_))), "{wrong}");
        }
    }

    #[test]
    fn this_machine_has_booted() {
        let work = tempfile::tempdir().unwrap();
        assert!(boot_time(Path::new("/proc"), work.path()).unwrap().ends_with('Z'));
    }
}
