//! Reading the directory of manufacturers' certificates (`registration-flow.md` §3).

use keylime_engine::identity::certificate_store::CertificateStore;
use std::io;
use std::path::Path;

/// Reads the first certificate of each `*.pem` file directly in `directory`. Names that begin with a dot are not matched;
/// a file whose certificate cannot be parsed is skipped with a warning.
///
/// # Errors
/// When the directory or a file cannot be read, or a file is not UTF-8 or larger than [`MAX_FILE_BYTES`]: the reference
/// then fails the whole check, and so must the caller.
pub fn read(directory: &Path) -> io::Result<CertificateStore> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !name.ends_with(".pem") {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(io::Error::other(format!("certificate store holds more than {MAX_FILES} files")));
        }
        let path = entry.path();
        if std::fs::metadata(&path)?.len() > MAX_FILE_BYTES {
            return Err(io::Error::other(format!("{name} is larger than {MAX_FILE_BYTES} bytes")));
        }
        files.push((name, std::fs::read_to_string(&path)?));
    }
    files.sort();
    let (store, skipped) =
        CertificateStore::from_pem_files(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    for file in skipped {
        tracing::warn!(
            target: "keylime.registrar", file = file.name, reason = %file.reason,
            "certificate in the store cannot be read and is skipped"
        );
    }
    Ok(store)
}

/// Largest file of the store, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most files in the store.
pub const MAX_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_and_foreign_text_fail_and_unreadable_certificates_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(&directory.path().join("missing")).is_err());
        std::fs::write(directory.path().join("broken.pem"), "no certificate").unwrap();
        std::fs::write(directory.path().join(".hidden.pem"), [0xff]).unwrap();
        std::fs::write(directory.path().join("notes.txt"), [0xff]).unwrap();
        assert!(read(directory.path()).unwrap().is_empty());
        std::fs::write(directory.path().join("foreign.pem"), [0xff]).unwrap();
        assert!(read(directory.path()).is_err());
    }
}
