//! An IMA measurement list in a file, and runtime policies for it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A measurement list of the template `ima-ng` with SHA-256 file digests, as a kernel writes it.
#[derive(Debug)]
pub struct ImaLog {
    path: PathBuf,
}

impl ImaLog {
    /// Starts a list with its `boot_aggregate`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        let log = Self { path: path.to_owned() };
        log.append_digest("boot_aggregate", &hex::encode(boot_aggregate()))?;
        Ok(log)
    }

    /// Where the list is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the measurement of a file with this content; answers the line.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn append(&self, name: &str, content: &[u8]) -> io::Result<String> {
        self.append_digest(name, &sha256_hex(content))
    }

    /// Appends the measurement of a file with this SHA-256 digest (hexadecimal); answers the line.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn append_digest(&self, name: &str, digest_hex: &str) -> io::Result<String> {
        let line = line(name, digest_hex);
        File::options().append(true).open(&self.path)?.write_all(format!("{line}\n").as_bytes())?;
        Ok(line)
    }
}

/// One line of the list: PCR, SHA-1 template hash, template, digest, name.
#[must_use]
pub fn line(name: &str, digest_hex: &str) -> String {
    let digest = hex::decode(digest_hex).unwrap_or_default();
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    hash.update(&length(8 + digest.len()));
    hash.update(b"sha256:\0");
    hash.update(&digest);
    hash.update(&length(name.len() + 1));
    hash.update(name.as_bytes());
    hash.update(b"\0");
    format!("10 {} ima-ng sha256:{digest_hex} {name}", hex::encode(hash.finish()))
}

fn boot_aggregate() -> Vec<u8> {
    digest(&SHA256, &[0; 320]).as_ref().to_vec()
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(content: &[u8]) -> String {
    hex::encode(digest(&SHA256, content))
}

/// A runtime policy that allows `boot_aggregate` and these files.
#[must_use]
pub fn policy(files: &[(&str, &[u8])]) -> Value {
    let mut digests = json!({ "boot_aggregate": [hex::encode(boot_aggregate())] });
    for (name, content) in files {
        digests[*name] = json!([sha256_hex(content)]);
    }
    json!({
        "meta": { "version": 1, "generator": 3, "timestamp": "2026-01-01 00:00:00.000000" },
        "release": 0,
        "digests": digests,
        "excludes": [],
        "keyrings": {},
        "ima": { "ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null },
        "ima-buf": {},
        "verification-keys": ""
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_a_kernel() {
        // From the documentation of a real machine: template hash and digest belong together.
        let digest = "d903c6382c0c1f7d1fb599c25b72bcb7791bde21351461e066de22af0b67d8e6";
        assert_eq!(
            line("boot_aggregate", digest),
            format!("10 1ad666c457d90c85098749a609501d1928d66a57 ima-ng sha256:{digest} boot_aggregate")
        );
    }
}
