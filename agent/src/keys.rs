//! The agent's own keys: the RSA key that key shares are encrypted for, and the key of the HTTP server.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use keylime_pki::private_key::{PrivateKeyError, encrypt_pem, read_pem};
use rustls_pki_types::PrivateKeyDer;

use crate::{pem, private_file};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot access key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no usable key, or its password is wrong.
    #[error("key file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PrivateKeyError,
    },
    /// The payload key must be an RSA key of 2048 bits.
    #[error("payload key file {} does not hold an rsa key of 2048 bits", .0.display())]
    NotRsa2048(PathBuf),
    /// A key could not be made.
    #[error("cannot generate a key")]
    Generation,
}

/// A share that the payload key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Crypto error: RSA OAEP decrypt error: failed to decrypt data with RSA OAEP")]
pub struct DecryptError;

/// The key that the tenant and the verifier encrypt their shares for; every quote is bound to its public half.
pub struct PayloadKey {
    private: OaepPrivateDecryptingKey,
    public_pem: String,
}

impl PayloadKey {
    /// Reads the key, or makes one and writes it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(path: &Path, password: &str) -> Result<Self, KeyError> {
        if let Some(key) = read_key(path, password)? {
            let PrivateKeyDer::Pkcs8(der) = &key else {
                return Err(KeyError::NotRsa2048(path.to_owned()));
            };
            return Self::from_pkcs8(der.secret_pkcs8_der()).ok_or_else(|| KeyError::NotRsa2048(path.to_owned()));
        }
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generation)?;
        let der: Pkcs8V1Der<'_> = private.as_der().map_err(|_| KeyError::Generation)?;
        write_key(path, der.as_ref(), password)?;
        Self::from_pkcs8(der.as_ref()).ok_or(KeyError::Generation)
    }

    /// Takes a PKCS#8 key; none if it is not RSA with 2048 bits.
    #[must_use]
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let private = PrivateDecryptingKey::from_pkcs8(der).ok().filter(|key| key.key_size_bits() == 2048)?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().ok()?;
        let public_pem = pem::encode("PUBLIC KEY", public.as_ref());
        Some(Self { private: OaepPrivateDecryptingKey::new(private).ok()?, public_pem })
    }

    /// SubjectPublicKeyInfo in PEM, exactly as it is sent and as PCR 16 binds it.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Opens an RSA-OAEP ciphertext (SHA-1, MGF1 with SHA-1, no label).
    ///
    /// # Errors
    /// [`DecryptError`] without any detail, so that the answer is no oracle.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let mut buffer = vec![0; self.private.min_output_size()];
        let plaintext =
            self.private.decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut buffer, None).map_err(|_| DecryptError)?;
        Ok(plaintext.to_vec())
    }
}

/// Reads the server's key, or makes one on P-256 and writes it.
///
/// # Errors
/// See [`KeyError`].
pub fn open_server_key(path: &Path, password: &str) -> Result<PrivateKeyDer<'static>, KeyError> {
    if let Some(key) = read_key(path, password)? {
        return Ok(key);
    }
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| KeyError::Generation)?;
    write_key(path, &pair.serialize_der(), password)?;
    Ok(PrivateKeyDer::Pkcs8(pair.serialize_der().into()))
}

fn read_key(path: &Path, password: &str) -> Result<Option<PrivateKeyDer<'static>>, KeyError> {
    let content = private_file::read(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    let password = Some(password).filter(|text| !text.is_empty());
    content
        .map(|text| read_pem(&text, password))
        .transpose()
        .map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })
}

fn write_key(path: &Path, pkcs8: &[u8], password: &str) -> Result<(), KeyError> {
    let text = if password.is_empty() {
        pem::encode("PRIVATE KEY", pkcs8)
    } else {
        encrypt_pem(pkcs8, password).map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?
    };
    private_file::write(path, text.as_bytes()).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_with_and_without_password() {
        let directory = tempfile::tempdir().unwrap();
        for password in ["", "geheim"] {
            let path = directory.path().join(format!("payload{password}.pem"));
            let first = PayloadKey::open(&path, password).unwrap();
            let second = PayloadKey::open(&path, password).unwrap();
            assert_eq!(first.public_pem(), second.public_pem());
            assert!(first.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\nMIIBI"));
        }
        assert!(matches!(
            PayloadKey::open(&directory.path().join("payloadgeheim.pem"), "falsch"),
            Err(KeyError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_server_key_is_no_payload_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.pem");
        let first = open_server_key(&path, "").unwrap();
        assert_eq!(first, open_server_key(&path, "").unwrap());
        assert!(matches!(PayloadKey::open(&path, ""), Err(KeyError::NotRsa2048(_))));
    }
}
