//! Signatures of a repository's metadata.

use super::RepositoryError;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::file_signature::SignatureHash;
use keylime_engine::ima::key_reading::read_public_pem;

/// Verifies that the metadata are signed by the key beside them.
///
/// # Errors
/// [`RepositoryError::Untrusted`].
pub fn verify(key: &[u8], signature: &[u8], metadata: &[u8]) -> Result<(), RepositoryError> {
    let key = read_public_pem(key).map_err(|error| RepositoryError::Untrusted(error.to_string()))?;
    let digest = HashAlgorithm::Sha256.digest(&[metadata]);
    if key.is_elliptic() && key.verifies(SignatureHash::Sha256, digest.as_bytes(), signature) {
        return Ok(());
    }
    Err(RepositoryError::Untrusted("the signature does not verify".to_owned()))
}
