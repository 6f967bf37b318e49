//! Finds the workspace's own binaries, and builds them when asked.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The folder that holds the workspace's binaries: `KEYLIME_BIN_DIR`, or the folder this program was built into.
///
/// # Panics
/// The path of this program is unknown.
#[must_use]
pub fn dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("KEYLIME_BIN_DIR") {
        return dir.into();
    }
    let me = std::env::current_exe().expect("the system knows the path of this program");
    let mut dir = me.parent().map(Path::to_owned).unwrap_or_default();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}

/// Path of one binary.
///
/// # Panics
/// It is not there; the message says how to build it.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let path = dir().join(name);
    assert!(path.is_file(), "{} is missing; build it with: cargo build --workspace --bins", path.display());
    path
}

/// Builds all binaries of the workspace, as this program was built.
///
/// # Errors
/// The build fails.
pub fn build() -> io::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(["build", "--workspace", "--bins", "--locked"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cargo build ended with {status}"))) }
}
