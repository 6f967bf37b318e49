//! Signatures of a repository's metadata.

use super::RepositoryError;
use keylime_engine::policy::detached_signature::verify_detached;
use time::OffsetDateTime;

/// Verifies that the metadata are signed by the key beside them, with OpenPGP or ECDSA.
///
/// # Errors
/// [`RepositoryError::Untrusted`].
pub fn verify(key: &[u8], signature: &[u8], metadata: &[u8]) -> Result<(), RepositoryError> {
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
    verify_detached(key, signature, metadata, now).map_err(|error| RepositoryError::Untrusted(error.to_string()))
}
