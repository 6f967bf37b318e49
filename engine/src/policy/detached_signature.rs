//! Detached signatures over a file (`runtime-policy.md` §9): ECDSA with a PEM key, or OpenPGP.
//!
//! The first line of the key decides which. The feature `openpgp` brings the second kind; without it such a key verifies
//! nothing.

use crate::ima::file_signature::SignatureHash;
use crate::ima::key_reading;

/// Largest key that is read, in bytes: a ring of some hundred keys.
pub const MAX_KEY_BYTES: usize = 1024 * 1024;

/// Largest signature that is read, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 64 * 1024;

/// Why a detached signature does not vouch for a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetachedSignatureError {
    /// The key is larger than [`MAX_KEY_BYTES`].
    #[error("the key has {0} bytes, more than {MAX_KEY_BYTES}")]
    KeyTooLarge(usize),
    /// The signature is larger than [`MAX_SIGNATURE_BYTES`].
    #[error("the signature has {0} bytes, more than {MAX_SIGNATURE_BYTES}")]
    SignatureTooLarge(usize),
    /// The key is neither a PEM public key nor an OpenPGP key block.
    #[error("the key is neither a PEM public key nor an OpenPGP public key block")]
    UnknownKeyForm,
    /// The key is of a kind that signs nothing here.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// The signature cannot be read.
    #[error("the signature cannot be read: {0}")]
    Signature(String),
    /// The key or the signature has expired, or was revoked.
    #[error("the {0}")]
    NotValid(&'static str),
    /// The signature is not one by the key over these bytes.
    #[error("the signature is not one by this key over this file")]
    Wrong,
}

const PEM_PUBLIC_KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----";
const PGP_PUBLIC_KEY: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Verifies that `signature` is one over `body` by `key`; `now` is the present in seconds since the epoch, for keys and
/// signatures that expire.
///
/// An elliptic-curve PEM key verifies ECDSA with SHA-256, the signature in DER. A PGP key block verifies an OpenPGP
/// signature, armored or binary.
///
/// # Errors
/// [`DetachedSignatureError`] whenever the file is not vouched for.
pub fn verify_detached(key: &[u8], signature: &[u8], body: &[u8], now: u64) -> Result<(), DetachedSignatureError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(DetachedSignatureError::KeyTooLarge(key.len()));
    }
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(DetachedSignatureError::SignatureTooLarge(signature.len()));
    }
    let first_line = key.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    match first_line {
        PEM_PUBLIC_KEY => verify_ecdsa(key, signature, body),
        PGP_PUBLIC_KEY => verify_openpgp(key, signature, body, now),
        _ => Err(DetachedSignatureError::UnknownKeyForm),
    }
}

fn verify_ecdsa(key: &[u8], signature: &[u8], body: &[u8]) -> Result<(), DetachedSignatureError> {
    let key = key_reading::read_public_pem(key).map_err(|error| DetachedSignatureError::Key(error.to_string()))?;
    if !key.is_elliptic() {
        return Err(DetachedSignatureError::Key("an RSA key".to_owned()));
    }
    let digest = crate::algorithm::HashAlgorithm::Sha256.digest(&[body]);
    match key.verifies(SignatureHash::Sha256, digest.as_bytes(), signature) {
        true => Ok(()),
        false => Err(DetachedSignatureError::Wrong),
    }
}

#[cfg(feature = "openpgp")]
fn verify_openpgp(key: &[u8], signature: &[u8], body: &[u8], now: u64) -> Result<(), DetachedSignatureError> {
    super::openpgp::verify(key, signature, body, now)
}

#[cfg(not(feature = "openpgp"))]
fn verify_openpgp(_: &[u8], _: &[u8], _: &[u8], _: u64) -> Result<(), DetachedSignatureError> {
    Err(DetachedSignatureError::Key("OpenPGP is not built in".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    fn signed(body: &[u8]) -> (String, Vec<u8>) {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let pem = key.verifying_key().to_public_key_pem(p256::pkcs8::LineEnding::LF).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(body);
        (pem, signature.to_der().as_bytes().to_vec())
    }

    #[test]
    fn an_elliptic_key_vouches_for_exactly_its_file() {
        let (key, signature) = signed(b"body");
        assert_eq!(verify_detached(key.as_bytes(), &signature, b"body", 0), Ok(()));
        assert_eq!(verify_detached(key.as_bytes(), &signature, b"bodx", 0), Err(DetachedSignatureError::Wrong));
        for position in 0..signature.len() {
            let mut edited = signature.clone();
            edited[position] ^= 1;
            assert!(verify_detached(key.as_bytes(), &edited, b"body", 0).is_err(), "byte {position}");
        }
        let in_text = base64::engine::general_purpose::STANDARD.encode(&signature);
        assert!(verify_detached(key.as_bytes(), in_text.as_bytes(), b"body", 0).is_err());
    }

    #[test]
    fn other_keys_and_large_inputs_are_refused() {
        let (key, signature) = signed(b"body");
        let other = key.replace("PUBLIC KEY", "EC PUBLIC KEY");
        assert_eq!(
            verify_detached(other.as_bytes(), &signature, b"body", 0),
            Err(DetachedSignatureError::UnknownKeyForm)
        );
        assert_eq!(verify_detached(b"", &signature, b"body", 0), Err(DetachedSignatureError::UnknownKeyForm));
        let large = vec![0; MAX_KEY_BYTES + 1];
        assert!(matches!(verify_detached(&large, &[], b"", 0), Err(DetachedSignatureError::KeyTooLarge(_))));
        assert!(matches!(
            verify_detached(key.as_bytes(), &large[..MAX_SIGNATURE_BYTES + 1], b"", 0),
            Err(DetachedSignatureError::SignatureTooLarge(_))
        ));
    }
}
