//! The TPM's keys as an agent uses them: the endorsement key, its fingerprint, and the attestation key kept between runs.

use std::path::PathBuf;

use crate::agent_data::AgentData;
use crate::configuration::AgentSettings;
use crate::identity::ek_hash::{EkHashError, ek_hash};
use crate::private_file;
use crate::tpm::{AttestationKey, AttestationKeyRequest, EndorsementKey, EndorsementKeyRequest, TpmError, TpmHandle};

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// The TPM failed.
    #[error("{0}")]
    Tpm(#[from] TpmError),
    /// The endorsement key has no fingerprint.
    #[error("{0}")]
    EkHash(#[from] EkHashError),
    /// The file that keeps the attestation key cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// The loaded keys.
#[derive(Debug, Clone)]
pub struct DeviceKeys {
    /// The endorsement key and its certificates.
    pub endorsement: EndorsementKey,
    /// Its fingerprint.
    pub ek_hash: String,
    /// The attestation key.
    pub attestation: AttestationKey,
}

impl DeviceKeys {
    /// Makes or loads both keys, and stores the attestation key.
    ///
    /// # Errors
    /// See [`DeviceKeyError`].
    pub async fn open(settings: &AgentSettings, tpm: &TpmHandle) -> Result<Self, DeviceKeyError> {
        let endorsement = open_endorsement_key(settings, tpm).await?;
        let ek_hash = ek_hash(&endorsement.public)?;
        let attestation = open_attestation_key(settings, tpm, &ek_hash).await?;
        Ok(Self { endorsement, ek_hash, attestation })
    }
}

/// Loads the endorsement key, which a registration needs and frees again.
///
/// # Errors
/// The TPM failed, or has no bank for the configured hash.
pub async fn open_endorsement_key(settings: &AgentSettings, tpm: &TpmHandle) -> Result<EndorsementKey, TpmError> {
    let request =
        EndorsementKeyRequest { algorithm: settings.tpm.encryption, persistent_handle: settings.tpm.ek_handle };
    let bank = settings.tpm.hash;
    tpm.run(move |tpm| {
        let banks = tpm.allocated_banks()?;
        if !banks.contains(&bank) {
            let allocated = banks.iter().map(|bank| bank.name()).collect::<Vec<_>>().join(", ");
            return Err(TpmError::BankNotAllocated { bank, allocated });
        }
        tpm.endorsement_key(&request)
    })
    .await
}

async fn open_attestation_key(
    settings: &AgentSettings,
    tpm: &TpmHandle,
    ek_hash: &str,
) -> Result<AttestationKey, DeviceKeyError> {
    let path = &settings.agent_data_path;
    let failed = |action: &'static str| move |source| DeviceKeyError::File { action, path: path.clone(), source };
    let (hash, signing) = (settings.tpm.hash, settings.tpm.signing);
    let stored = private_file::read(path).map_err(failed("read"))?.and_then(|json| {
        AgentData::stored_key(&json, hash, signing, ek_hash)
            .inspect_err(|error| tracing::warn!(target: "keylime.agent", %error, "making a new attestation key"))
            .ok()
    });
    let request = AttestationKeyRequest { algorithm: settings.tpm.encryption, hash, signing, stored };
    let key = tpm.run(move |tpm| tpm.attestation_key(&request)).await?;
    let json = AgentData::new(&key.blobs, hash, signing, ek_hash)
        .to_json()
        .map_err(|error| failed("write")(std::io::Error::other(error)))?;
    private_file::write(path, &json).map_err(failed("write"))?;
    Ok(key)
}
