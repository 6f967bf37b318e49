//! Private keys in PEM: reading them with or without a password, and protecting them with one.

use aws_lc_rs::rand;
use pkcs8::der::Decode as _;
use pkcs8::der::pem::{self, LineEnding};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Rounds of PBKDF2 for keys this program protects: as many as guard the keystore.
const PBKDF2_ITERATIONS: u32 = 100_000;

/// Why a private key was not read or not protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// No PEM section with a private key was found, or it does not decode.
    #[error("no usable private key in PEM form")]
    Encoding,
    /// The key is encrypted and no password was given.
    #[error("private key is encrypted and no password is configured")]
    PasswordMissing,
    /// The password does not open the key, or its encryption scheme is not PBES2.
    #[error("private key cannot be decrypted with the configured password")]
    Decryption,
    /// The key could not be encrypted.
    #[error("private key cannot be encrypted")]
    Encryption,
}

/// Reads the first private key of a PEM text: PKCS#8, PKCS#8 encrypted with PBES2, PKCS#1 or SEC1.
///
/// A password for a key that is not encrypted is ignored.
///
/// # Errors
/// See [`PrivateKeyError`].
pub fn read_pem(text: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    let Some(section) = encrypted_section(text)? else {
        return PrivateKeyDer::from_pem_slice(text).map_err(|_| PrivateKeyError::Encoding);
    };
    let password = password.filter(|text| !text.is_empty()).ok_or(PrivateKeyError::PasswordMissing)?;
    let (label, der) = pem::decode_vec(section).map_err(|_| PrivateKeyError::Encoding)?;
    debug_assert_eq!(label, ENCRYPTED_LABEL);
    let info = EncryptedPrivateKeyInfoRef::from_der(&der).map_err(|_| PrivateKeyError::Encoding)?;
    let document = info.decrypt(password).map_err(|_| PrivateKeyError::Decryption)?;
    PrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| PrivateKeyError::Decryption)?;
    Ok(PrivatePkcs8KeyDer::from(document.as_bytes().to_vec()).into())
}

/// Encrypts a PKCS#8 key with PBES2 (PBKDF2 with HMAC-SHA-256, AES-256-CBC) and writes it as PEM.
///
/// # Errors
/// [`PrivateKeyError::Encryption`] if the key is not PKCS#8 or randomness fails.
pub fn encrypt_pem(pkcs8: &[u8], password: &str) -> Result<String, PrivateKeyError> {
    let mut salt = [0; 16];
    let mut iv = [0; 16];
    for random in [&mut salt, &mut iv] {
        rand::fill(random).map_err(|_| PrivateKeyError::Encryption)?;
    }
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ITERATIONS, &salt, iv)
        .map_err(|_| PrivateKeyError::Encryption)?;
    let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|_| PrivateKeyError::Encryption)?;
    let document = info.encrypt_with_params(parameters, password).map_err(|_| PrivateKeyError::Encryption)?;
    pem::encode_string(ENCRYPTED_LABEL, LineEnding::LF, document.as_bytes()).map_err(|_| PrivateKeyError::Encryption)
}

/// The encrypted PKCS#8 section of a PEM text, if there is one.
fn encrypted_section(text: &[u8]) -> Result<Option<&[u8]>, PrivateKeyError> {
    let begin = format!("-----BEGIN {ENCRYPTED_LABEL}-----");
    let end = format!("-----END {ENCRYPTED_LABEL}-----");
    let Some(start) = position(text, begin.as_bytes()) else { return Ok(None) };
    let length = position(&text[start..], end.as_bytes()).ok_or(PrivateKeyError::Encoding)?;
    Ok(Some(&text[start..start + length + end.len()]))
}

fn position(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_a_key_it_encrypted_and_needs_the_password() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let text = encrypt_pem(key.serialized_der(), "pw").unwrap();
        assert_eq!(read_pem(text.as_bytes(), Some("pw")).unwrap().secret_der(), key.serialized_der());
        assert_eq!(read_pem(text.as_bytes(), Some("no")), Err(PrivateKeyError::Decryption));
        assert_eq!(read_pem(text.as_bytes(), None), Err(PrivateKeyError::PasswordMissing));
        assert_eq!(read_pem(key.serialize_pem().as_bytes(), Some("pw")).unwrap().secret_der(), key.serialized_der());
        assert_eq!(read_pem(b"nothing", None), Err(PrivateKeyError::Encoding));
    }

    #[test]
    fn reads_a_key_encrypted_by_openssl() {
        let text = include_bytes!("../tests/data/openssl_encrypted_key.pem");
        assert!(read_pem(text, Some("testpass")).is_ok());
    }
}
