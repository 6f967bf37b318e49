//! What an entry extends PCR 10 with, and how far a list has been extended already: pure functions.

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ima::measurement_list::{EntryError, EntryReader};

/// What one entry extends a bank with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The value.
    pub digest: Digest,
    /// The file the entry is about.
    pub path: String,
}

/// Why an entry cannot be extended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// It cannot be read.
    #[error("{0}")]
    Syntax(#[from] EntryError),
    /// The logged hash is not the hash of the entry's data.
    #[error("IMA template hash doesn't match")]
    TemplateHash,
}

/// The extension of one line; `ima_hash` is the algorithm of the logged template hashes.
///
/// An entry of zeros stands for a violation, for which the kernel extends ones.
///
/// # Errors
/// See [`InvalidEntry`].
pub fn extension(
    reader: &mut EntryReader,
    line: &str,
    ima_hash: HashAlgorithm,
    bank: HashAlgorithm,
) -> Result<Extension, InvalidEntry> {
    let entry = reader.read(line)?;
    let path = entry.name.to_owned();
    if entry.logged_hash == Digest::filled(0, ima_hash.digest_len()).as_bytes() {
        return Ok(Extension { digest: Digest::filled(0xFF, bank.digest_len()), path });
    }
    if entry.logged_hash != ima_hash.digest(&[entry.template_data]).as_bytes() {
        return Err(InvalidEntry::TemplateHash);
    }
    Ok(Extension { digest: bank.digest(&[entry.template_data]), path })
}

/// How many of `lines` have been extended into a PCR of this value, and the file of the last one; none if no prefix of the
/// list gives the value.
///
/// # Errors
/// A line before the place cannot be read.
pub fn locate(
    lines: &[&str],
    ima_hash: HashAlgorithm,
    bank: HashAlgorithm,
    pcr: &Digest,
) -> Result<Option<(usize, String)>, InvalidEntry> {
    let mut reader = EntryReader::default();
    let mut running = Digest::filled(0, bank.digest_len());
    if running == *pcr {
        return Ok(Some((0, String::new())));
    }
    for (index, line) in lines.iter().enumerate() {
        let Extension { digest, path } = extension(&mut reader, line, ima_hash, bank)?;
        running = bank.digest(&[running.as_bytes(), digest.as_bytes()]);
        if running == *pcr {
            return Ok(Some((index + 1, path)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> String {
        let files: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/agent_files.json")).unwrap();
        files["ima_log"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_place_is_found_by_replay() {
        let log = log();
        let lines = log.lines().collect::<Vec<_>>();
        let (ima, bank) = (HashAlgorithm::Sha1, HashAlgorithm::Sha256);
        let mut reader = EntryReader::default();
        let mut pcr = Digest::filled(0, 32);
        assert_eq!(locate(&lines, ima, bank, &pcr).unwrap().unwrap().0, 0);
        for line in &lines[..3] {
            let extension = extension(&mut reader, line, ima, bank).unwrap();
            pcr = bank.digest(&[pcr.as_bytes(), extension.digest.as_bytes()]);
        }
        assert_eq!(locate(&lines, ima, bank, &pcr).unwrap(), Some((3, "/usr/bin/tool-1".to_owned())));
        assert_eq!(locate(&lines[..2], ima, bank, &pcr).unwrap(), None);
    }

    #[test]
    fn violations_extend_ones_and_forgeries_nothing() {
        let mut reader = EntryReader::default();
        let mut extend = |line: &str| extension(&mut reader, line, HashAlgorithm::Sha1, HashAlgorithm::Sha256);
        let zeros = "0".repeat(40);
        let violation = extend(&format!("10 {zeros} ima-ng sha256:{} /f", "0".repeat(64))).unwrap();
        assert_eq!(violation, Extension { digest: Digest::filled(0xFF, 32), path: "/f".to_owned() });
        let forged = format!("10 {} ima-ng sha256:{} /f", "1".repeat(40), "0".repeat(64));
        assert_eq!(extend(&forged), Err(InvalidEntry::TemplateHash));
        assert!(matches!(extend("10 zz"), Err(InvalidEntry::Syntax(_))));
    }
}
