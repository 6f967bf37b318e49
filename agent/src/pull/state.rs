//! What the handlers share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ids::AgentId;

use crate::api_version::ApiVersion;
use crate::key_derivation::KeyDerivation;
use crate::keys::PayloadKey;
use crate::measurement_logs::MeasurementLogs;
use crate::payload::worker::PayloadQueue;
use crate::revocation::worker::RevocationQueue;
use crate::tpm::{KeyAlgorithm, SigningAlgorithm, TpmHandle};

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
