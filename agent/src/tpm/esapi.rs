//! The TPM through the TCG's ESAPI: opening, and the [`Tpm`] commands spread over the neighbouring modules.

use std::path::Path;
use std::str::FromStr;

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, PcrHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{Auth, CapabilityData};
use tss_esapi::{Context, TctiNameConf};

use crate::tpm::credential_blob::CredentialBlob;
use crate::tpm::device_identity::{DeviceIdentity, DeviceIdentityRequest};
use crate::tpm::{
    AttestationKey, AttestationKeyRequest, Certification, EndorsementKey, EndorsementKeyRequest, Quote, QuoteRequest,
    Tpm, TpmError,
};

/// Banks a TPM may list; the library's own limit.
const MAX_BANKS: u32 = 16;

/// A TPM behind the TCG's software stack.
pub struct EsapiTpm {
    pub(super) context: Context,
    pub(super) endorsement_key: Option<LoadedEndorsementKey>,
    pub(super) attestation_key: Option<KeyHandle>,
}

/// A loaded endorsement key and who has to flush it.
#[derive(Clone, Copy)]
pub(super) struct LoadedEndorsementKey {
    pub(super) handle: KeyHandle,
    pub(super) lifetime: KeyLifetime,
}

/// Whether a loaded key occupies a slot that must be freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLifetime {
    Transient,
    Persistent,
}

impl EsapiTpm {
    /// Opens the TPM named by `tcti` and sets the password of the endorsement hierarchy, if there is one.
    ///
    /// # Errors
    /// The TCTI is malformed or the TPM does not answer.
    pub fn open(tcti: &str, endorsement_password: &[u8]) -> Result<Self, TpmError> {
        let refused = |error: tss_esapi::Error| TpmError::Open { tcti: tcti.to_owned(), reason: error.to_string() };
        let configuration = TctiNameConf::from_str(tcti).map_err(refused)?;
        let mut context = Context::new(configuration).map_err(refused)?;
        if !endorsement_password.is_empty() {
            let auth =
                Auth::try_from(endorsement_password.to_vec()).map_err(TpmError::command("set owner password"))?;
            context.tr_set_auth(ObjectHandle::Endorsement, auth).map_err(TpmError::command("set owner password"))?;
        }
        Ok(Self { context, endorsement_key: None, attestation_key: None })
    }

    /// The TPM's vendor string, as the properties TPM_PT_VENDOR_STRING_1 to 4 spell it.
    ///
    /// # Errors
    /// The TPM refused the command.
    pub fn vendor(&mut self) -> Result<String, TpmError> {
        use tss_esapi::constants::PropertyTag;
        let tags = [
            PropertyTag::VendorString1,
            PropertyTag::VendorString2,
            PropertyTag::VendorString3,
            PropertyTag::VendorString4,
        ];
        let mut text = String::new();
        for tag in tags {
            let word = self.context.get_tpm_property(tag).map_err(TpmError::command("get vendor string"))?;
            text.extend(word.unwrap_or(0).to_be_bytes().into_iter().filter(u8::is_ascii_graphic).map(char::from));
        }
        Ok(text)
    }
}

/// The TCTI to use: the environment variable `TCTI`, else the kernel's resource manager, else the bare device.
#[must_use]
pub fn default_tcti() -> String {
    match std::env::var("TCTI") {
        Ok(value) if !value.is_empty() => value,
        _ if Path::new("/dev/tpmrm0").exists() => "device:/dev/tpmrm0".to_owned(),
        _ => "device:/dev/tpm0".to_owned(),
    }
}

impl Tpm for EsapiTpm {
    fn allocated_banks(&mut self) -> Result<Vec<HashAlgorithm>, TpmError> {
        let (data, _) = self
            .context
            .get_capability(CapabilityType::AssignedPcr, 0, MAX_BANKS)
            .map_err(TpmError::command("get allocated pcr banks"))?;
        let CapabilityData::AssignedPcr(list) = data else {
            return Err(TpmError::UnexpectedAnswer { command: "get allocated pcr banks" });
        };
        let banks = list.get_selections().iter().filter(|selection| !selection.is_empty());
        Ok(banks.filter_map(|selection| from_tss_hash(selection.hashing_algorithm())).collect())
    }

    fn endorsement_key(&mut self, request: &EndorsementKeyRequest) -> Result<EndorsementKey, TpmError> {
        // A registration that is repeated loads it anew; the slot of the earlier one must not stay taken.
        self.release_endorsement_key()?;
        self.with_room(|tpm| tpm.open_endorsement_key(request))
    }

    fn attestation_key(&mut self, request: &AttestationKeyRequest) -> Result<AttestationKey, TpmError> {
        self.with_room(|tpm| tpm.open_attestation_key(request))
    }

    fn activate_credential(&mut self, blob: &CredentialBlob) -> Result<Vec<u8>, TpmError> {
        self.activate(blob)
    }

    fn extend(&mut self, pcr: u8, bank: HashAlgorithm, digest: &Digest) -> Result<(), TpmError> {
        let handle = PcrHandle::try_from(u32::from(pcr)).map_err(TpmError::command("select pcrs"))?;
        if !self.allocated_banks()?.contains(&bank) {
            return Err(self.bank_not_allocated(bank));
        }
        self.extend_pcr(handle, bank, digest)
    }

    fn release_endorsement_key(&mut self) -> Result<(), TpmError> {
        let Some(key) = self.endorsement_key.take() else {
            return Ok(());
        };
        match key.lifetime {
            KeyLifetime::Transient => {
                self.context.flush_context(key.handle.into()).map_err(TpmError::command("flush endorsement key"))
            }
            KeyLifetime::Persistent => Ok(()),
        }
    }

    fn quote(&mut self, request: &QuoteRequest) -> Result<Quote, TpmError> {
        self.quote_pcrs(request)
    }

    fn certify_attestation_key(&mut self, qualifying_data: &[u8]) -> Result<Certification, TpmError> {
        self.certify_own_key(qualifying_data)
    }

    fn prove_device_identity(&mut self, request: &DeviceIdentityRequest) -> Result<DeviceIdentity, TpmError> {
        // Making room would free the attestation key as well, and this needs it.
        self.prove_with_device_keys(request)
    }
}

/// The library's name of a hash algorithm.
pub(super) fn to_tss_hash(hash: HashAlgorithm) -> HashingAlgorithm {
    match hash {
        HashAlgorithm::Sha1 => HashingAlgorithm::Sha1,
        HashAlgorithm::Sha256 => HashingAlgorithm::Sha256,
        HashAlgorithm::Sha384 => HashingAlgorithm::Sha384,
        HashAlgorithm::Sha512 => HashingAlgorithm::Sha512,
        HashAlgorithm::Sm3_256 => HashingAlgorithm::Sm3_256,
    }
}

/// Our name of a library hash algorithm; none for those Keylime does not know (SHA-3).
fn from_tss_hash(hash: HashingAlgorithm) -> Option<HashAlgorithm> {
    HashAlgorithm::ALL.into_iter().find(|&candidate| to_tss_hash(candidate) == hash)
}

/// A digest in the library's form.
pub(super) fn to_tss_digest(digest: &Digest) -> Result<tss_esapi::structures::Digest, TpmError> {
    tss_esapi::structures::Digest::try_from(digest.as_bytes()).map_err(TpmError::command("convert digest"))
}
