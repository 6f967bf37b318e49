//! What the handlers share.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ids::AgentId;

use crate::api_version::ApiVersion;
use crate::key_derivation::KeyDerivation;
use crate::keys::PayloadKey;
use crate::measurement_list::{MeasurementList, MeasurementPart};
use crate::payload::worker::PayloadQueue;
use crate::revocation::worker::RevocationQueue;
use crate::tpm::{KeyAlgorithm, SigningAlgorithm, TpmHandle};

/// Largest firmware log sent, in bytes.
const MAX_BOOT_LOG_BYTES: u64 = 16 << 20;

/// Everything a handler may need; shared by all server threads.
pub struct AgentState {
    /// This agent.
    pub agent_id: AgentId,
    /// API versions served, ascending.
    pub api_versions: Vec<ApiVersion>,
    /// The TPM.
    pub tpm: TpmHandle,
    /// The attestation key's handle, shown to whoever asks.
    pub ak_handle: u32,
    /// Hash of quotes and PCR bank.
    pub hash: HashAlgorithm,
    /// Kind of the attestation key.
    pub encryption: KeyAlgorithm,
    /// Scheme of the attestation key.
    pub signing: SigningAlgorithm,
    /// The key that shares are encrypted for.
    pub payload_key: PayloadKey,
    /// The logs sent along with quotes.
    pub logs: MeasurementLogs,
    /// Shares received and the key joined from them.
    pub derivation: Mutex<KeyDerivation>,
    /// Whether payloads may be run over this connection at all.
    pub payloads: PayloadRule,
    /// Runs payloads.
    pub payload_queue: PayloadQueue,
    /// Handles revocation notices.
    pub revocation_queue: RevocationQueue,
}

/// Whether delivered payloads are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRule {
    /// They arrive over mTLS, or the administrator accepts that they do not.
    Run,
    /// The key is joined, the payload dropped.
    Drop,
}

impl AgentState {
    /// The digest that PCR 16 is extended with, which binds quotes to the payload key.
    #[must_use]
    pub fn payload_key_digest(&self) -> Digest {
        self.hash.digest(&[self.payload_key.public_pem().as_bytes()])
    }

    /// The shares and the key.
    pub fn derivation(&self) -> MutexGuard<'_, KeyDerivation> {
        // Nothing in there is left half changed by a panic.
        self.derivation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel's and the firmware's log, opened before privileges were dropped.
#[derive(Clone, Default)]
pub struct MeasurementLogs {
    ima: Option<Arc<Mutex<MeasurementList>>>,
    boot: Option<Arc<Mutex<File>>>,
}

impl MeasurementLogs {
    /// Takes what could be opened.
    #[must_use]
    pub fn new(ima: Option<MeasurementList>, boot: Option<File>) -> Self {
        let shared = |list| Arc::new(Mutex::new(list));
        Self { ima: ima.map(shared), boot: boot.map(|file| Arc::new(Mutex::new(file))) }
    }

    /// The IMA list from an entry on, if there is a list. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn ima_from(&self, entry: u64) -> io::Result<Option<MeasurementPart>> {
        let Some(list) = &self.ima else {
            return Ok(None);
        };
        list.lock().unwrap_or_else(PoisonError::into_inner).read_from(entry).map(Some)
    }

    /// The whole firmware log, if there is one. Blocks.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot_log(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &self.boot else {
            return Ok(None);
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(0))?;
        let mut content = Vec::new();
        (&mut *file).take(MAX_BOOT_LOG_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_BOOT_LOG_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(content))
    }
}
