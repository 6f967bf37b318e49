//! The Debian package: programs, units, manual pages, templates and documentation in one archive made by `dpkg-deb`.
//!
//! What goes where is `packaging.md` §2–§3; the files are in the `dist` folders of the packages of this workspace.

use crate::binaries;
use crate::manual_texts::PROGRAMS;
use keylime_config_upgrade::template_source;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders with units.
const UNITS: [&str; 2] = ["gateway/dist/systemd", "agent/dist/systemd"];
/// Scripts that run on the machine the package is installed on.
pub const MAINTAINER_SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package in `out` from the programs of a folder; returns its path.
///
/// # Errors
/// A file is missing, or `dpkg-deb` is not there or fails.
pub fn build(programs: &Path, out: &Path) -> io::Result<PathBuf> {
    let workspace = binaries::workspace();
    let tree = tempfile::tempdir()?;
    let root = tree.path().join("package");
    for program in PROGRAMS.iter().filter(|program| programs.join(program.name).is_file()) {
        let installed = root.join("usr/bin").join(program.name);
        copy(&programs.join(program.name), &installed, 0o755)?;
        // Debug information is half of a program; a failure to strip only costs room.
        let _ = Command::new("strip").arg("--strip-unneeded").arg(&installed).output();
        let page = crate::manual_page::path(program, &workspace);
        if page.is_file() {
            let installed = root.join(format!("usr/share/man/man{0}/{1}.{0}", program.section, program.name));
            copy(&page, &installed, 0o644)?;
            run(Command::new("gzip").args(["-9", "-n"]).arg(&installed))?;
        }
    }
    for folder in UNITS {
        copy_all(&workspace.join(folder), &root.join("usr/lib/systemd/system"))?;
    }
    let tmpfiles = workspace.join("gateway/dist/tmpfiles");
    copy(&tmpfiles.join("keylime.conf"), &root.join("usr/lib/tmpfiles.d/keylime.conf"), 0o644)?;
    copy(&tmpfiles.join("keylime.sysusers.conf"), &root.join("usr/lib/sysusers.d/keylime.conf"), 0o644)?;
    template_source::export(&root.join("usr/share/keylime/templates")).map_err(io::Error::other)?;
    copy_all(&workspace.join("gateway/dist/ima"), &root.join("usr/share/keylime/ima-policies"))?;
    for empty in ["usr/share/keylime/tpm_cert_store", "usr/libexec/keylime"] {
        fs::create_dir_all(root.join(empty))?;
    }
    let documentation = root.join("usr/share/doc/keylime-rust");
    copy_all(&workspace.join("gateway/dist/doc"), &documentation)?;
    copy(&workspace.join("LICENSE"), &documentation.join("copyright"), 0o644)?;
    completions(programs, &root)?;
    control(&workspace, &root)?;
    let architecture = text(Command::new("dpkg").arg("--print-architecture"))?;
    let package = out.join(format!("keylime-rust_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zzstd", "--build"]).arg(&root).arg(&package))?;
    Ok(package)
}

fn completions(programs: &Path, root: &Path) -> io::Result<()> {
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/keylime_tenant"),
        ("zsh", "usr/share/zsh/vendor-completions/_keylime_tenant"),
        ("fish", "usr/share/fish/vendor_completions.d/keylime_tenant.fish"),
    ] {
        let script = text(Command::new(programs.join("keylime_tenant")).args(["--completions", shell]))?;
        write(&root.join(path), &(script + "\n"), 0o644)?;
    }
    Ok(())
}

fn control(workspace: &Path, root: &Path) -> io::Result<()> {
    let source = workspace.join("gateway/dist/debian");
    let architecture = text(Command::new("dpkg").arg("--print-architecture"))?;
    let control = fs::read_to_string(source.join("control"))?
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@ARCHITECTURE@", &architecture);
    write(&root.join("DEBIAN/control"), &control, 0o644)?;
    for script in MAINTAINER_SCRIPTS {
        copy(&source.join(script), &root.join("DEBIAN").join(script), 0o755)?;
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()), 0o644)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map_err(named)?;
    fs::set_permissions(to, Permissions::from_mode(mode))
}

fn write(to: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, text)?;
    fs::set_permissions(to, Permissions::from_mode(mode))
}

fn text(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn run(command: &mut Command) -> io::Result<()> {
    text(command).map(drop)
}
