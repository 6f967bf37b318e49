//! The software TPM of `--avoid-tpm`: real structures and signatures, but keys in a file that anybody who becomes root can copy.
//!
//! What it says proves nothing about the machine, and its endorsement key has no certificate, so a registrar or tenant that
//! asks for one refuses it. It follows the IMA list itself, as the kernel would extend PCR 10.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::tpm::signature::SignatureScheme;
use keylime_soft_tpm::{AttestationPair, EndorsementPair, SoftTpm, SoftTpmError};

use crate::ima_emulator::position::extension;
use crate::measurement_logs::MeasurementLogs;
use crate::private_file;
use crate::tpm::credential_blob::CredentialBlob;
use crate::tpm::device_identity::{DeviceIdentity, DeviceIdentityRequest};
use crate::tpm::pcr::IMA_PCR;
use crate::tpm::{
    AttestationKey, AttestationKeyRequest, Certification, EndorsementKey, EndorsementKeyRequest, KeyAlgorithm,
    KeyOrigin, Quote, QuoteRequest, SigningAlgorithm, StoredKey, Tpm, TpmError,
};

/// The banks it has.
const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384];
/// File that keeps the seed of the endorsement key.
const SEED_FILE: &str = "software_tpm_seed";

/// A TPM that is none.
pub struct SoftwareTpm {
    endorsement: Arc<EndorsementPair>,
    logs: MeasurementLogs,
    loaded: Option<Loaded>,
}

struct Loaded {
    tpm: SoftTpm,
    extended: u64,
}

impl SoftwareTpm {
    /// Opens or makes the key file in the working directory.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(keylime_dir: &Path, logs: MeasurementLogs) -> Result<Self, TpmError> {
        let path = keylime_dir.join(SEED_FILE);
        let seed = open_seed(&path).map_err(|error| TpmError::Open {
            tcti: format!("software tpm in {}", path.display()),
            reason: error.to_string(),
        })?;
        Ok(Self { endorsement: Arc::new(EndorsementPair::p256_from_seed(&seed)?), logs, loaded: None })
    }

    /// Where the attestation key is kept, apart from that of a real TPM.
    #[must_use]
    pub fn agent_data_path(keylime_dir: &Path) -> PathBuf {
        keylime_dir.join("software_tpm_agent_data.json")
    }

    fn loaded(&mut self) -> Result<&mut Loaded, TpmError> {
        self.loaded.as_mut().ok_or(TpmError::KeyNotLoaded("attestation key"))
    }

    /// Extends PCR 10 with what the list has gained.
    fn follow_ima_list(&mut self) -> Result<(), TpmError> {
        let first = self.loaded()?.extended;
        let Ok(Some(part)) = self.logs.ima_from(first) else {
            return Ok(());
        };
        let loaded = self.loaded()?;
        if part.first_entry != first {
            return Ok(());
        }
        let mut reader = EntryReader::default();
        let complete = part.text.rfind('\n').map_or("", |end| &part.text[..=end]);
        for line in complete.lines() {
            let ima_hash = logged_hash(line);
            for bank in BANKS {
                match extension(&mut reader, line, ima_hash, bank) {
                    Ok(extension) => loaded.tpm.extend(bank, IMA_PCR, &extension.digest)?,
                    Err(error) => tracing::warn!(target: "keylime.agent", %error, line, "cannot extend pcr 10"),
                }
            }
            loaded.extended += 1;
        }
        Ok(())
    }
}

/// The algorithm of a line's template hash, by its length.
fn logged_hash(line: &str) -> HashAlgorithm {
    let digits = line.split(' ').nth(1).map_or(0, str::len);
    if digits == 64 { HashAlgorithm::Sha256 } else { HashAlgorithm::Sha1 }
}

fn open_seed(path: &Path) -> io::Result<[u8; 32]> {
    if let Some(bytes) = private_file::read(path)? {
        return bytes.try_into().map_err(|_| io::ErrorKind::InvalidData.into());
    }
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(io::Error::other)?;
    private_file::write(path, &seed)?;
    Ok(seed)
}

fn scheme(signing: SigningAlgorithm) -> SignatureScheme {
    match signing {
        SigningAlgorithm::RsaSsa => SignatureScheme::Rsassa,
        SigningAlgorithm::RsaPss => SignatureScheme::Rsapss,
        SigningAlgorithm::EcDsa => SignatureScheme::Ecdsa,
        SigningAlgorithm::EcSchnorr => SignatureScheme::Ecschnorr,
    }
}

/// The private form of a new key: a seed on P-256, else PKCS#8.
fn new_private(request: &AttestationKeyRequest) -> Result<Vec<u8>, TpmError> {
    let failed = |_| TpmError::Software(SoftTpmError::Key);
    match request.algorithm {
        KeyAlgorithm::Ecc256 if request.hash == HashAlgorithm::Sha256 => {
            let mut seed = vec![0; 32];
            aws_lc_rs::rand::fill(&mut seed).map_err(failed)?;
            Ok(seed)
        }
        KeyAlgorithm::Rsa2048 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            Ok(der.as_ref().to_vec())
        }
        KeyAlgorithm::Ecc256
        | KeyAlgorithm::Rsa1024
        | KeyAlgorithm::Rsa3072
        | KeyAlgorithm::Rsa4096
        | KeyAlgorithm::Ecc192
        | KeyAlgorithm::Ecc224
        | KeyAlgorithm::Ecc384
        | KeyAlgorithm::Ecc521
        | KeyAlgorithm::EccSm2 => Err(TpmError::NoTemplate(request.algorithm)),
    }
}

fn pair_of(request: &AttestationKeyRequest, private: &[u8]) -> Result<AttestationPair, TpmError> {
    let pair = match <&[u8; 32]>::try_from(private) {
        Ok(seed) => AttestationPair::p256_from_seed(seed)?,
        Err(_) => AttestationPair::rsa_from_pkcs8(private, scheme(request.signing), request.hash)?,
    };
    Ok(pair)
}

impl Tpm for SoftwareTpm {
    fn allocated_banks(&mut self) -> Result<Vec<HashAlgorithm>, TpmError> {
        Ok(BANKS.to_vec())
    }

    fn endorsement_key(&mut self, _: &EndorsementKeyRequest) -> Result<EndorsementKey, TpmError> {
        Ok(EndorsementKey {
            public: self.endorsement.public().get(2..).unwrap_or_default().to_vec(),
            certificate: None,
            chain: Vec::new(),
        })
    }

    fn attestation_key(&mut self, request: &AttestationKeyRequest) -> Result<AttestationKey, TpmError> {
        if !request.signing.fits(request.algorithm) {
            return Err(TpmError::SchemeMismatch { signing: request.signing, key: request.algorithm });
        }
        let (private, origin) = match &request.stored {
            Some(stored) => (stored.private.clone(), KeyOrigin::Stored),
            None => (new_private(request)?, KeyOrigin::Created),
        };
        let pair = Arc::new(pair_of(request, &private)?);
        let public = pair.public().get(2..).unwrap_or_default().to_vec();
        let tpm = SoftTpm::new(Arc::clone(&self.endorsement), pair, &BANKS);
        self.loaded = Some(Loaded { tpm, extended: 0 });
        Ok(AttestationKey { blobs: StoredKey { public, private }, handle: 0, origin })
    }

    fn activate_credential(&mut self, blob: &CredentialBlob) -> Result<Vec<u8>, TpmError> {
        Ok(self.loaded()?.tpm.activate_credential(&blob.to_bytes())?)
    }

    fn release_endorsement_key(&mut self) -> Result<(), TpmError> {
        Ok(())
    }

    fn quote(&mut self, request: &QuoteRequest) -> Result<Quote, TpmError> {
        let mask = PcrMask::from_bits(request.pcr_mask).ok_or(TpmError::PcrOutOfRange(request.pcr_mask))?;
        self.follow_ima_list()?;
        let (attestation, pcrs) = self.loaded()?.tpm.quote(request.bank, mask, &request.qualifying_data)?;
        Ok(Quote { attest: attestation.attest, signature: attestation.signature, pcrs })
    }

    fn extend(&mut self, _: u8, bank: HashAlgorithm, _: &Digest) -> Result<(), TpmError> {
        // Only the pull agent measures payloads, and it has no use for a TPM that is none.
        Err(TpmError::BankNotAllocated { bank, allocated: String::new() })
    }

    fn prove_device_identity(&mut self, _: &DeviceIdentityRequest) -> Result<DeviceIdentity, TpmError> {
        Err(TpmError::KeyNotLoaded("device identity key"))
    }

    fn certify_attestation_key(&mut self, qualifying_data: &[u8]) -> Result<Certification, TpmError> {
        let attestation = self.loaded()?.tpm.certify_itself(qualifying_data)?;
        Ok(Certification { attest: attestation.attest, signature: attestation.signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(algorithm: KeyAlgorithm, signing: SigningAlgorithm) -> AttestationKeyRequest {
        AttestationKeyRequest { algorithm, hash: HashAlgorithm::Sha256, signing, stored: None }
    }

    #[test]
    fn identity_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let open = || SoftwareTpm::open(directory.path(), MeasurementLogs::default()).unwrap();
        let ek = EndorsementKeyRequest { algorithm: KeyAlgorithm::Rsa2048, persistent_handle: None };
        assert_eq!(open().endorsement_key(&ek).unwrap(), open().endorsement_key(&ek).unwrap());
        for (algorithm, signing) in
            [(KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaSsa), (KeyAlgorithm::Ecc256, SigningAlgorithm::EcDsa)]
        {
            let made = open().attestation_key(&request(algorithm, signing)).unwrap();
            let stored = AttestationKeyRequest { stored: Some(made.blobs.clone()), ..request(algorithm, signing) };
            let mut second = open();
            let loaded = second.attestation_key(&stored).unwrap();
            assert_eq!((loaded.origin, loaded.blobs), (KeyOrigin::Stored, made.blobs));
            assert!(!second.certify_attestation_key(b"challenge").unwrap().signature.is_empty());
        }
    }

    #[test]
    fn what_it_does_not_have_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut tpm = SoftwareTpm::open(directory.path(), MeasurementLogs::default()).unwrap();
        assert!(matches!(tpm.certify_attestation_key(b"x"), Err(TpmError::KeyNotLoaded(_))));
        let large = request(KeyAlgorithm::Rsa4096, SigningAlgorithm::RsaSsa);
        assert!(matches!(tpm.attestation_key(&large), Err(TpmError::NoTemplate(KeyAlgorithm::Rsa4096))));
        std::fs::write(directory.path().join(SEED_FILE), b"short").unwrap();
        assert!(SoftwareTpm::open(directory.path(), MeasurementLogs::default()).is_err());
    }
}
