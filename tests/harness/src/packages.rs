//! Installs the Debian packages that a build, the demonstration or the tests need.

use std::io;
use std::process::Command;

/// What building the agent needs.
pub const BUILD: [&str; 2] = ["libtss2-dev", "pkg-config"];
/// What the demonstration needs.
pub const DEMO: [&str; 4] = ["swtpm", "swtpm-tools", "libtss2-tcti-swtpm0", "rabbitmq-server"];
/// What the tests need on top.
pub const TESTS: [&str; 9] = [
    "tpm2-tools",
    // The reference reads boot logs with both.
    "libefivar1",
    "postgresql",
    "mariadb-server",
    "python3-gpg",
    "python3-venv",
    "systemd",
    "groff-base",
    "strace",
];
/// What only the longest tests need.
pub const FULL: [&str; 2] = ["debootstrap", "binutils"];

/// Installs those of `packages` that are missing: as root, or through a `sudo` that asks no password.
///
/// # Errors
/// Nothing can be installed from here; the message is the command to type.
pub fn ensure(packages: &[&str]) -> io::Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    eprintln!("installing missing packages: {}", missing.join(" "));
    let root = nix::unistd::geteuid().is_root();
    let sudo = !root && Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|o| o.status.success());
    if !root && !sudo {
        return Err(io::Error::other(format!("these packages are missing; please run: sudo {line}")));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if sudo { "sudo" } else { "apt-get" });
        if sudo {
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output()
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "--yes", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    let output = apt(&arguments)?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{line} failed:\n{reason}")))
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev}", package]).output();
    query.is_ok_and(|o| o.status.success() && o.stdout.starts_with(b"ii"))
}
