//! The memory-backed directory for keys and payload (`agent-api.md` §4).
//!
//! Whether the directory is such a mount is read from the kernel's own table, field by field: looking for its name
//! anywhere in the output of a tool took a look-alike for the mount (CVE-2022-23948).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// What the kernel says about a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountState {
    /// Nothing is mounted there.
    Absent,
    /// A tmpfs.
    Tmpfs,
    /// Another file system.
    Other(String),
}

/// Why there is no secure directory.
#[derive(Debug, thiserror::Error)]
pub enum SecureMountError {
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else than a tmpfs is mounted.
    #[error("secure storage {} is mounted with type {found}, expected tmpfs", path.display())]
    WrongType {
        /// The directory.
        path: PathBuf,
        /// The file system's type.
        found: String,
    },
}

/// Takes or makes the tmpfs `secure` below the working directory, readable by its owner only.
///
/// # Errors
/// See [`SecureMountError`].
pub fn prepare(keylime_dir: &Path, size: &str) -> Result<PathBuf, SecureMountError> {
    let directory = keylime_dir.join("secure");
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| SecureMountError::Io { action, path, source }
    };
    let table = fs::read_to_string(MOUNT_TABLE).map_err(failed("read", Path::new(MOUNT_TABLE)))?;
    match mount_state(&table, &directory) {
        MountState::Tmpfs => {
            tracing::info!(target: "keylime.agent", path = %directory.display(), "using the mounted secure storage");
            restrict(&directory).map_err(failed("restrict the mode of", &directory))?;
        }
        MountState::Other(found) => return Err(SecureMountError::WrongType { path: directory, found }),
        MountState::Absent => {
            fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
            let options = format!("size={size},mode=0700");
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("tmpfs"), &directory, Some("tmpfs"), flags, Some(options.as_str()))
                .map_err(|error| failed("mount a tmpfs on", &directory)(error.into()))?;
            tracing::info!(target: "keylime.agent", path = %directory.display(), size, "mounted secure storage");
        }
    }
    Ok(directory)
}

/// A mount made by somebody else may be open to others; keys must not enter it before it is closed.
fn restrict(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

/// Looks a directory up in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); of several mounts on one another
/// the last one counts.
#[must_use]
pub fn mount_state(table: &str, directory: &Path) -> MountState {
    let found = table.lines().rev().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = unescape(mount.split(' ').nth(4)?);
        (Path::new(&point) == directory).then(|| file_system.split(' ').next().unwrap_or_default().to_owned())
    });
    match found.as_deref() {
        None => MountState::Absent,
        Some("tmpfs") => MountState::Tmpfs,
        Some(other) => MountState::Other(other.to_owned()),
    }
}

/// The kernel writes blanks, line ends and backslashes in a path as three octal digits.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(index) = rest.find('\\') {
        out.push_str(&rest[..index]);
        let digits = rest.get(index + 1..index + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[index + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[index + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 0:20 / / rw,relatime - ext4 /dev/sda rw
30 22 0:30 / /var/lib/keylime/secure-old rw - tmpfs tmpfs rw
31 22 0:31 / /srv/a\\040b/secure rw,noexec shared:5 - tmpfs tmpfs rw,size=1024k
32 22 0:32 / /disk/secure rw - ext4 /var/lib/keylime/secure rw
33 22 0:33 / /twice rw - tmpfs tmpfs rw
34 33 0:34 / /twice rw - ext4 /dev/sdb rw
";

    #[test]
    fn cve_2022_23948_only_the_exact_mount_point_counts() {
        let state = |path: &str| mount_state(TABLE, Path::new(path));
        assert_eq!(state("/var/lib/keylime/secure"), MountState::Absent);
        assert_eq!(state("/srv/a b/secure"), MountState::Tmpfs);
        assert_eq!(state("/disk/secure"), MountState::Other("ext4".to_owned()));
        assert_eq!(state("/twice"), MountState::Other("ext4".to_owned()));
        assert_eq!(mount_state("nonsense\n1 2 - \n", Path::new("/")), MountState::Absent);
    }

    #[test]
    fn escapes_are_undone_and_malformed_ones_kept() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/a\\04"), "/a\\04");
        assert_eq!(unescape("\\é12"), "\\é12");
    }
}
