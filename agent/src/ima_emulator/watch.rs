//! Follows an IMA list and extends PCR 10 of a software TPM.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::measurement_list::EntryReader;
use tss_esapi::handles::PcrHandle;

use crate::ima_emulator::position::{InvalidEntry, extension, locate};
use crate::tpm::TpmError;
use crate::tpm::esapi::EsapiTpm;
use crate::tpm::pcr::IMA_PCR;

/// Largest list read, in bytes.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Why the emulator ended.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The TPM failed.
    #[error("{0}")]
    Tpm(#[from] TpmError),
    /// The TPM is a real one.
    #[error("This stub should only be used with a TPM emulator")]
    NotAnEmulator,
    /// The list cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry cannot be extended.
    #[error("entry {number} of {}: {source}", path.display())]
    Entry {
        /// The list.
        path: PathBuf,
        /// Its line, from 1, empty lines not counted.
        number: usize,
        /// Why.
        source: InvalidEntry,
    },
    /// The PCR was extended with something else.
    #[error("Unable to find current measurement list position, resetting the TPM emulator may be necessary")]
    NoPosition,
}

/// Follows one list.
pub struct ImaEmulator {
    tpm: EsapiTpm,
    path: PathBuf,
    ima_hash: HashAlgorithm,
    banks: Vec<Bank>,
    /// An unterminated last line as last seen: taken once it stays as it is.
    unfinished: Option<String>,
}

struct Bank {
    hash: HashAlgorithm,
    /// Entries extended.
    position: usize,
}

impl ImaEmulator {
    /// Finds out how far each bank has been extended.
    ///
    /// # Errors
    /// See [`EmulatorError`].
    pub fn attach(
        mut tpm: EsapiTpm,
        path: &Path,
        ima_hash: HashAlgorithm,
        hashes: &[HashAlgorithm],
    ) -> Result<Self, EmulatorError> {
        if !tpm.vendor()?.contains("SW") {
            return Err(EmulatorError::NotAnEmulator);
        }
        let list = read_list(path)?;
        let lines = non_empty_lines(&list);
        let mut banks = Vec::new();
        for &hash in hashes {
            let pcrs = tpm.read_pcrs(hash, &[IMA_PCR])?;
            let pcr = pcrs.first().map(|(_, value)| *value).ok_or(EmulatorError::NoPosition)?;
            let place = locate(&lines, ima_hash, hash, &pcr).map_err(|source| EmulatorError::Entry {
                path: path.to_owned(),
                number: 0,
                source,
            })?;
            let (position, file) = place.ok_or(EmulatorError::NoPosition)?;
            if position > 0 {
                println!("Located last IMA file updated: {file}");
            }
            banks.push(Bank { hash, position });
        }
        Ok(Self { tpm, path: path.to_owned(), ima_hash, banks, unfinished: None })
    }

    /// Extends what the list has gained since the last call.
    ///
    /// # Errors
    /// See [`EmulatorError`].
    pub fn catch_up(&mut self) -> Result<(), EmulatorError> {
        let list = read_list(&self.path)?;
        let settled = self.settled(&list);
        let lines = non_empty_lines(settled);
        let mut reader = EntryReader::default();
        for bank in &mut self.banks {
            for (index, line) in lines.iter().enumerate().skip(bank.position) {
                let extension = extension(&mut reader, line, self.ima_hash, bank.hash)
                    .map_err(|source| EmulatorError::Entry { path: self.path.clone(), number: index + 1, source })?;
                println!("extending hash {} for {}", extension.digest.to_hex(), extension.path);
                self.tpm.extend_pcr(PcrHandle::Pcr10, bank.hash, &extension.digest)?;
                bank.position = index + 1;
            }
        }
        Ok(())
    }

    /// The list without a last line that may still be being written.
    fn settled<'l>(&mut self, list: &'l str) -> &'l str {
        let end = list.rfind('\n').map_or(0, |index| index + 1);
        let (complete, tail) = list.split_at(end);
        if tail.is_empty() {
            self.unfinished = None;
            return list;
        }
        if self.unfinished.as_deref() == Some(tail) {
            return list;
        }
        self.unfinished = Some(tail.to_owned());
        complete
    }
}

fn non_empty_lines(list: &str) -> Vec<&str> {
    list.split('\n').filter(|line| !line.is_empty()).collect()
}

fn read_list(path: &Path) -> Result<String, EmulatorError> {
    let failed = |source| EmulatorError::List { path: path.to_owned(), source };
    let mut content = Vec::new();
    fs::File::open(path).and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_end(&mut content)).map_err(failed)?;
    if content.len() as u64 > MAX_LIST_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    String::from_utf8(content).map_err(|error| failed(io::Error::other(error.utf8_error())))
}
