//! Files that hold key material: bounded reads, and writes that appear complete or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Mode of certificates and keys: the service's group reads them.
pub(crate) const SHARED_WITH_GROUP: u32 = 0o640;
/// Mode of packages, which hold an unencrypted private key.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// Largest certificate, key or keystore file read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads a file of at most [`MAX_FILE_BYTES`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is longer than 16 MiB"));
    }
    Ok(content)
}

/// Replaces a file: the content goes to a new file beside it, which then takes its name.
///
/// The mode is set whatever the umask is, and from the moment the file exists nobody else can open it.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = directory.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let result = write_new(&temporary, content, mode).and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A file left behind by a crash of a process with the same id.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}
