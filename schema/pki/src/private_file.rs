//! Files that hold key material: bounded reads, and writes that appear complete or not at all.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

/// Mode of certificates and keys: the service's group reads them.
pub(crate) const SHARED_WITH_GROUP: u32 = 0o640;
/// Mode of packages, which hold an unencrypted private key.
pub(crate) const OWNER_ONLY: u32 = 0o600;

const ROOT: u32 = 0;

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
/// The mode is set whatever the umask is, and from the moment the file exists nobody else can open it. What root writes
/// belongs to the owner of the file that was there, or else of the directory: the services that read an authority's files do
/// not run as root, and a revocation list they cannot read would revoke nothing.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = directory.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let owner = std::fs::symlink_metadata(path).or_else(|_| std::fs::metadata(directory)).ok();
    let result = write_new(&temporary, content, mode, owner).and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn write_new(path: &Path, content: &[u8], mode: u32, owner: Option<Metadata>) -> io::Result<()> {
    // A file left behind by a crash of a process with the same id.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    if let Some(owner) = owner.filter(|owner| owner.uid() != ROOT)
        && file.metadata()?.uid() == ROOT
    {
        // The open file, not its name: nothing that was put in its place can be handed over.
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;

    const SERVICE: u32 = 4711;

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_authority() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cacrl.der");
        if directory.path().metadata().unwrap().uid() != ROOT {
            eprintln!("only root can write for others: not tested");
            return;
        }
        write(&path, b"root's", SHARED_WITH_GROUP).unwrap();
        assert_eq!(path.metadata().unwrap().uid(), ROOT);
        chown(directory.path(), Some(SERVICE), Some(SERVICE + 1)).unwrap();
        write(&path, b"still root's", SHARED_WITH_GROUP).unwrap();
        assert_eq!(path.metadata().unwrap().uid(), ROOT);
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            write(&path, b"the service's", SHARED_WITH_GROUP).unwrap();
            let file = path.metadata().unwrap();
            assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (SERVICE, SERVICE + 1, SHARED_WITH_GROUP));
        }
    }
}
