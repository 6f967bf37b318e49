//! Unpacking a zip file that somebody else made: nothing outside of the directory, nothing without bounds.

use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use zip::ZipArchive;

/// Most entries.
pub const MAX_ENTRIES: usize = 4096;
/// Most bytes written in total; the secure mount is usually much smaller.
pub const MAX_UNPACKED_BYTES: u64 = 256 << 20;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not a zip file, or a damaged one.
    #[error("zip: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A file cannot be written.
    #[error("cannot write {name:?}: {source}")]
    Io {
        /// The entry.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Too many entries.
    #[error("more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// Too much content.
    #[error("too many bytes unpacked")]
    TooLarge,
    /// An entry would be written elsewhere.
    #[error("entry {0:?} leads out of the directory")]
    Escapes(String),
    /// An entry is neither a file nor a directory.
    #[error("entry {0:?} is a link")]
    Link(String),
}

/// Unpacks into a directory. Modes of the archive apply to the owner only, and no file gets more than its owner's rights.
///
/// # Errors
/// See [`UnpackError`]; what was written before stays.
pub fn unpack(archive: &[u8], directory: &Path) -> Result<(), UnpackError> {
    unpack_within(archive, directory, MAX_UNPACKED_BYTES)
}

fn unpack_within(archive: &[u8], directory: &Path, limit: u64) -> Result<(), UnpackError> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    if archive.len() > MAX_ENTRIES {
        return Err(UnpackError::TooManyEntries);
    }
    let mut left = limit;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if entry.is_symlink() {
            return Err(UnpackError::Link(name));
        }
        let target = directory.join(entry.enclosed_name().ok_or_else(|| UnpackError::Escapes(name.clone()))?);
        let failed = |source| UnpackError::Io { name: name.clone(), source };
        if entry.is_dir() {
            make_directory(&target).map_err(failed)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            make_directory(parent).map_err(failed)?;
        }
        let mode = entry.unix_mode().unwrap_or(0o600) & 0o700 | 0o600;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&target)
            .map_err(failed)?;
        // The size in the archive's directory is a claim; what is really written counts.
        let written = io::copy(&mut (&mut entry).take(left + 1), &mut file).map_err(failed)?;
        left = left.checked_sub(written).ok_or(UnpackError::TooLarge)?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn archive(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content, mode) in entries {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_appear_with_their_owners_rights() {
        let directory = tempfile::tempdir().unwrap();
        unpack(&archive(&[("autorun.sh", b"echo", 0o6777), ("sub/file", b"x", 0o644)]), directory.path()).unwrap();
        let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("autorun.sh"), mode("sub/file"), mode("sub")), (0o700, 0o600, 0o700));
        assert_eq!(fs::read(directory.path().join("sub/file")).unwrap(), b"x");
    }

    #[test]
    fn entries_cannot_escape() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("unzipped");
        fs::create_dir(&directory).unwrap();
        for name in ["../evil", "a/../../evil", "/evil"] {
            let result = unpack(&archive(&[(name, b"x", 0o644)]), &directory);
            assert!(matches!(result, Err(UnpackError::Escapes(_))) || result.is_ok(), "{name}: {result:?}");
            assert!(!root.path().join("evil").exists() && !Path::new("/evil").exists(), "{name}");
        }
    }

    #[test]
    fn links_and_foreign_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let archive = writer.finish().unwrap().into_inner();
        assert!(matches!(unpack(&archive, directory.path()), Err(UnpackError::Link(_))));
        assert!(matches!(unpack(b"hello keylime payload\n", directory.path()), Err(UnpackError::Zip(_))));
    }

    #[test]
    fn cve_2022_23951_a_bomb_stops_at_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let zeros = vec![0; 1 << 20];
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file("bomb", options).unwrap();
        for _ in 0..4 {
            writer.write_all(&zeros).unwrap();
        }
        let archive = writer.finish().unwrap().into_inner();
        assert!(matches!(unpack_within(&archive, directory.path(), 3 << 20), Err(UnpackError::TooLarge)));
        assert!(unpack_within(&archive, directory.path(), 4 << 20).is_ok());
    }
}
