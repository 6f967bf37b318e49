//! The attester's TPM: one owner thread, a bounded queue of jobs, and the commands an agent needs.
//!
//! A TPM has one command channel and a handful of object slots, so exactly one thread talks to it; everybody else holds
//! a [`TpmHandle`]. The commands sit behind the trait [`Tpm`], so that the HTTP API can be tested without a TPM.
//! Which key is made how follows the TCG EK Credential Profile and `tpm-formats.md` §2.3, §3, §6.

pub mod attestation_key;
mod certify;
pub mod credential_blob;
pub mod device_identity;
pub mod ek_certificate;
pub mod endorsement_key;
pub mod esapi;
pub mod key_algorithm;
mod leftovers;
pub mod owner;
pub mod password;
pub mod pcr;
pub mod quote;
pub mod software;

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::quote::QuoteParts;

pub use key_algorithm::{KeyAlgorithm, SigningAlgorithm};
pub use owner::{TpmHandle, TpmOwner};

use crate::tpm::credential_blob::CredentialBlob;
use crate::tpm::device_identity::{DeviceIdentity, DeviceIdentityRequest};

/// The commands an agent gives its TPM.
pub trait Tpm {
    /// The hash algorithms whose PCR banks are allocated.
    ///
    /// # Errors
    /// The TPM refused the command or could not be reached.
    fn allocated_banks(&mut self) -> Result<Vec<HashAlgorithm>, TpmError>;

    /// Makes or finds the endorsement key and reads its certificates; the key stays loaded.
    ///
    /// # Errors
    /// The algorithm has no EK template, the handle names no key, or the TPM refused.
    fn endorsement_key(&mut self, request: &EndorsementKeyRequest) -> Result<EndorsementKey, TpmError>;

    /// Loads the stored attestation key or makes a new one under the loaded endorsement key; it stays loaded.
    ///
    /// # Errors
    /// No endorsement key is loaded, or the TPM refused.
    fn attestation_key(&mut self, request: &AttestationKeyRequest) -> Result<AttestationKey, TpmError>;

    /// Solves a registrar's credential challenge with the loaded keys.
    ///
    /// # Errors
    /// A key is missing, or the challenge was not made for these keys.
    fn activate_credential(&mut self, blob: &CredentialBlob) -> Result<Vec<u8>, TpmError>;

    /// Frees the slot of an endorsement key this agent made; a persistent one stays.
    ///
    /// # Errors
    /// The TPM refused the command.
    fn release_endorsement_key(&mut self) -> Result<(), TpmError>;

    /// Quotes PCRs with the loaded attestation key.
    ///
    /// # Errors
    /// The mask names a PCR beyond 23, the bank is not allocated, the PCRs never held still, or the TPM refused.
    fn quote(&mut self, request: &QuoteRequest) -> Result<Quote, TpmError>;

    /// Lets the loaded attestation key certify itself over `qualifying_data`, which proves its possession (TPM2_Certify).
    ///
    /// # Errors
    /// No attestation key is loaded, the data is longer than a TPM takes, or the TPM refused.
    fn certify_attestation_key(&mut self, qualifying_data: &[u8]) -> Result<Certification, TpmError>;

    /// Makes or finds the device identity keys and lets the IAK certify the loaded attestation key.
    ///
    /// # Errors
    /// No attestation key is loaded, there is no such template or handle, or the TPM refused.
    fn prove_device_identity(&mut self, request: &DeviceIdentityRequest) -> Result<DeviceIdentity, TpmError>;

    /// Extends a PCR in one bank.
    ///
    /// # Errors
    /// There is no such PCR, the bank is not allocated, or the TPM refused.
    fn extend(&mut self, pcr: u8, bank: HashAlgorithm, digest: &Digest) -> Result<(), TpmError>;
}

/// What TPM2_Certify answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certification {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

/// Which endorsement key is wanted.
#[derive(Debug, Clone)]
pub struct EndorsementKeyRequest {
    /// Kind and size of the key.
    pub algorithm: KeyAlgorithm,
    /// Persistent handle of an existing key; none makes one from the template.
    pub persistent_handle: Option<u32>,
}

/// A loaded endorsement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// DER of the EK certificate, where the TPM's NV storage holds one.
    pub certificate: Option<Vec<u8>>,
    /// DER of the certificates of the issuing chain, in NV order.
    pub chain: Vec<Vec<u8>>,
}

/// Which attestation key is wanted.
#[derive(Debug, Clone)]
pub struct AttestationKeyRequest {
    /// Kind and size of the key.
    pub algorithm: KeyAlgorithm,
    /// Name algorithm and hash of the signature scheme.
    pub hash: HashAlgorithm,
    /// Signature scheme.
    pub signing: SigningAlgorithm,
    /// The key blobs of an earlier run.
    pub stored: Option<StoredKey>,
}

/// A key as it is kept outside of the TPM: public area and the private part wrapped by its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// Content of TPM2B_PRIVATE.
    pub private: Vec<u8>,
}

/// A loaded attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// The blobs to store.
    pub blobs: StoredKey,
    /// The handle the TPM library gave it.
    pub handle: u32,
    /// Whether the key of an earlier run was taken.
    pub origin: KeyOrigin,
}

/// Where a loaded key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The stored blobs were loaded.
    Stored,
    /// A new key was made.
    Created,
}

/// What to quote.
#[derive(Debug, Clone)]
pub struct QuoteRequest {
    /// The nonce, at most 64 bytes.
    pub qualifying_data: Vec<u8>,
    /// Bit n selects PCR n.
    pub pcr_mask: u32,
    /// The PCR bank.
    pub bank: HashAlgorithm,
    /// Digest that PCR 16 is reset and extended with before quoting; PCR 16 is then quoted too.
    pub bound_data: Option<Digest>,
}

/// A quote with the PCR values it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The values of the quoted PCRs.
    pub pcrs: PcrBank,
}

impl Quote {
    /// The quote string of the pull API.
    #[must_use]
    pub fn to_text(&self) -> String {
        let parts = QuoteParts {
            attest: self.attest.clone(),
            signature: self.signature.clone(),
            pcr_blob: pcr_blob::write_bank(&self.pcrs),
        };
        parts.encode()
    }
}

/// Why the TPM could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The TCTI could not be opened.
    #[error("cannot open the tpm with tcti {tcti:?}: {reason}")]
    Open {
        /// The TCTI configuration in effect.
        tcti: String,
        /// What the TPM library said.
        reason: String,
    },
    /// The TPM or its library refused a command.
    #[error("tpm command {command} failed: {source}")]
    Command {
        /// The command.
        command: &'static str,
        /// The library's error.
        source: tss_esapi::Error,
    },
    /// The TPM answered with something the command cannot answer.
    #[error("tpm answered {command} with an unexpected structure")]
    UnexpectedAnswer {
        /// The command.
        command: &'static str,
    },
    /// The PCR bank is not allocated, so no quote over it can exist.
    #[error("pcr bank {bank} is not allocated in this tpm (allocated: {allocated})")]
    BankNotAllocated {
        /// The bank asked for.
        bank: HashAlgorithm,
        /// The banks the TPM has, comma separated.
        allocated: String,
    },
    /// The mask names a PCR that does not exist.
    #[error("pcr mask {0:#x} names a pcr beyond 23")]
    PcrOutOfRange(u32),
    /// The PCRs changed between reading and quoting on every attempt.
    #[error("pcr values changed during each of {0} attempts to quote them")]
    PcrsChanging(u32),
    /// No template makes an endorsement key of this kind.
    #[error("there is no endorsement key template for {0}")]
    NoTemplate(KeyAlgorithm),
    /// The signature scheme cannot be used with this kind of key.
    #[error("signing algorithm {signing} does not fit a key of kind {key}")]
    SchemeMismatch {
        /// The signature scheme.
        signing: SigningAlgorithm,
        /// The key's kind.
        key: KeyAlgorithm,
    },
    /// A command needs a key that is not loaded.
    #[error("no {0} is loaded")]
    KeyNotLoaded(&'static str),
    /// The software TPM of tests refused a command.
    #[error("software tpm: {0}")]
    Software(#[from] keylime_soft_tpm::SoftTpmError),
    /// The owner thread ended.
    #[error("the tpm thread has ended")]
    Gone,
}

impl TpmError {
    /// Names the command in an error of the TPM library.
    pub(crate) fn command(command: &'static str) -> impl FnOnce(tss_esapi::Error) -> Self {
        move |source| Self::Command { command, source }
    }
}
