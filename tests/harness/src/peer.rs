//! Keylime 7.14.3 from PyPI, the reference implementation, in a virtual environment.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version the project is compatible with.
pub const VERSION: &str = "7.14.3";

/// What Keylime imports (its package does not declare it), and `pika` for the example of a consumer. Debian's `python3-gpg` comes through the system's site packages.
const REQUIREMENTS: [&str; 16] = [
    "cryptography>=42",
    "tornado>=6",
    "pyzmq",
    "pyyaml",
    "requests",
    "sqlalchemy>=2",
    "alembic",
    "packaging",
    "psutil",
    "lark",
    "pyasn1",
    "pyasn1-modules",
    "jinja2",
    "jsonschema",
    "typing-extensions",
    "pika",
];

/// Folder of the virtual environment: `KEYLIME_PEER_DIR`, or `keylime-peer` in the build folder.
#[must_use]
pub fn dir() -> PathBuf {
    let default = || crate::binaries::dir().parent().map(|d| d.join("keylime-peer")).unwrap_or_default();
    std::env::var_os("KEYLIME_PEER_DIR").map_or_else(default, PathBuf::from)
}

/// Path of one of the peer's programs.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    dir().join("bin").join(name)
}

/// Makes the environment when it is not there or not complete.
///
/// # Errors
/// Python or its package index cannot be used; the message holds the end of the output.
pub fn ensure() -> io::Result<()> {
    let dir = dir();
    let marker = dir.join(format!("complete-{VERSION}"));
    if marker.exists() {
        return Ok(());
    }
    eprintln!("installing Keylime {VERSION} from PyPI into {}", dir.display());
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear", "--system-site-packages"]).arg(&dir))?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("keylime=={VERSION}"))
        .args(REQUIREMENTS);
    run(&mut pip)?;
    std::fs::write(marker, VERSION)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{} failed: {text}", command.get_program().to_string_lossy())))
}

/// Whether the environment is there.
#[must_use]
pub fn is_installed() -> bool {
    Path::new(&dir()).join(format!("complete-{VERSION}")).exists()
}
