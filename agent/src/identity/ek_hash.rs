//! The endorsement key's fingerprint (`tpm-formats.md` §10): an agent id, and the tie between a stored AK and its TPM.

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::public_area::{InvalidPublicArea, PublicArea};
use keylime_engine::tpm::public_key::InvalidPublicKey;

/// Why an endorsement key has no fingerprint.
#[derive(Debug, thiserror::Error)]
pub enum EkHashError {
    /// The TPM's public area is not a key Keylime knows.
    #[error("endorsement key: {0}")]
    PublicArea(#[from] InvalidPublicArea),
    /// The key cannot be written as SubjectPublicKeyInfo.
    #[error("endorsement key: {0}")]
    Key(#[from] InvalidPublicKey),
}

/// Lower-case hexadecimal SHA-256 of the key's SubjectPublicKeyInfo in PEM, for a TPMT_PUBLIC.
///
/// # Errors
/// See [`EkHashError`].
pub fn ek_hash(tpmt_public: &[u8]) -> Result<String, EkHashError> {
    let pem = PublicArea::from_tpmt(tpmt_public)?.key().to_spki_pem()?;
    Ok(HashAlgorithm::Sha256.digest(&[pem.as_bytes()]).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn matches_the_reference_agent() {
        let files: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/agent_files.json")).unwrap();
        let tpm2b = base64::engine::general_purpose::STANDARD.decode(files["ek_tpm"].as_str().unwrap()).unwrap();
        assert_eq!(ek_hash(&tpm2b[2..]).unwrap(), files["ek_hash_text"].as_str().unwrap());
    }
}
