//! The keys that have signed accepted runtime policies (`runtime-policy.md` §7): one file each, named by its key id.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Largest key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// A directory of public keys.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    directory: PathBuf,
}

impl SigningKeys {
    /// The keys in this directory, which is made when the first key is stored.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The last of these keys that is known. An id that is not 64 hexadecimal digits names no file.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn find<'i>(&self, key_ids: impl Iterator<Item = &'i str>) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        for id in key_ids.filter(|id| is_key_id(id)) {
            match fs::File::open(self.path(id)) {
                Ok(file) => {
                    let mut key = Vec::new();
                    file.take(MAX_KEY_BYTES).read_to_end(&mut key)?;
                    found = Some(key);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Keeps a key under its id: the SHA-256 of the PEM text, in hexadecimal.
    ///
    /// # Errors
    /// When the id is none or the file cannot be written.
    pub fn keep(&self, key_id: &str, pem: &[u8]) -> io::Result<()> {
        if !is_key_id(key_id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a key id"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(key_id))?;
        file.write_all(pem)
    }

    fn path(&self, key_id: &str) -> PathBuf {
        self.directory.join(format!("{key_id}.pub"))
    }
}

fn is_key_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_and_finds_only_under_hexadecimal_names() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("outside.pub"), "secret").unwrap();
        let keys = SigningKeys::new(&directory.path().join("signing_keys"));
        let id = "ab".repeat(32);
        keys.keep(&id, b"pem").unwrap();
        assert_eq!(keys.find(["x", id.as_str()].into_iter()).unwrap().as_deref(), Some(&b"pem"[..]));
        assert_eq!(keys.find(["../outside", "", &"AB".repeat(32), &"cd".repeat(32)].into_iter()).unwrap(), None);
        assert!(keys.keep("../x", b"pem").is_err());
    }
}
