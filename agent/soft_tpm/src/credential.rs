//! TPM2_ActivateCredential (TPM 2.0 Part 1, clause 24; `tpm-formats.md` §8).

use super::SoftTpmError;
use super::endorsement_pair::{EndorsementPair, SYMMETRIC_BITS};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use keylime_engine::identity::key_derivation::kdfa;
use keylime_engine::tpm::name::TpmName;
use keylime_engine::tpm::reader::{Reader, Truncated};

const BLOB_MAGIC: u32 = 0xBADC_C0DE;
const BLOB_VERSION: u32 = 1;

impl From<Truncated> for SoftTpmError {
    fn from(_: Truncated) -> Self {
        Self::Credential
    }
}

pub(super) fn activate(ek: &EndorsementPair, ak_name: &TpmName, blob: &[u8]) -> Result<Vec<u8>, SoftTpmError> {
    let mut reader = Reader::new(blob);
    if reader.u32()? != BLOB_MAGIC || reader.u32()? != BLOB_VERSION {
        return Err(SoftTpmError::Credential);
    }
    let mut id_object = Reader::new(reader.sized()?);
    let secret = reader.sized()?;
    let integrity = id_object.sized()?;
    let identity = id_object.rest();

    let hash = EndorsementPair::hash();
    let seed = ek.recover_seed(secret)?;
    let integrity_key = kdfa(hash, seed.as_bytes(), "INTEGRITY", &[], 256).ok_or(SoftTpmError::Credential)?;
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, integrity_key.as_bytes());
    let signed = [identity, ak_name.as_bytes()].concat();
    hmac::verify(&mac_key, &signed, integrity).map_err(|_| SoftTpmError::Credential)?;

    let storage_key =
        kdfa(hash, seed.as_bytes(), "STORAGE", ak_name.as_bytes(), SYMMETRIC_BITS).ok_or(SoftTpmError::Credential)?;
    let mut plain = identity.to_vec();
    decrypt_cfb(storage_key.as_bytes(), &mut plain).map_err(|_| SoftTpmError::Credential)?;
    Ok(Reader::new(&plain).sized()?.to_vec())
}

fn decrypt_cfb(key: &[u8], data: &mut [u8]) -> Result<(), aws_lc_rs::error::Unspecified> {
    let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_128, key)?)?;
    key.decrypt(data, DecryptionContext::Iv128(FixedLength::from([0; 16]))).map(|_| ())
}
