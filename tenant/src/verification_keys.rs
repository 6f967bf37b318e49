//! Keys for IMA file signatures given on the command line, and the detached signatures over them (`tenant-cli.md` §3.5).

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, UnparsedPublicKey};
use keylime_engine::ima::key_reading::{self, KeyReadError};
use keylime_engine::ima::keyring::Keyring;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::payload;

const PUBLIC_KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----";
const PGP_KEY: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VerificationKeyError {
    /// A file cannot be read.
    #[error("{0}")]
    Io(String),
    /// The file holds no key.
    #[error("File '{0}' is not a file with a key")]
    NotAKey(String),
    /// The file holds a key of a kind that verifies no file signatures.
    #[error("File '{path}' does not have a supported key: {kind}")]
    Unsupported {
        /// The file.
        path: String,
        /// What it holds.
        kind: &'static str,
    },
    /// A signature without a key to verify it.
    #[error("A gpg key is missing for key signature file '{0}'")]
    KeyMissing(String),
    /// A signature does not verify.
    #[error(
        "IMA file signing key signature verification failed for \"{file}\" against signature \"{signature}\" using key \
         \"{key}\""
    )]
    Signature {
        /// The key that should be signed.
        file: String,
        /// The signature.
        signature: String,
        /// The key that should have signed.
        key: String,
    },
    /// OpenPGP signatures need a tool this program does not use.
    #[error("'{0}' is an OpenPGP key: only EC keys in PEM form verify key signatures here")]
    OpenPgp(String),
}

/// A key file, where it came from, and the signature that must verify.
#[derive(Debug, Clone)]
pub struct SignedKey {
    /// The file with the key.
    pub path: PathBuf,
    /// What the operator called it.
    pub name: String,
    /// File with its signature, and what the operator called that.
    pub signature: Option<(PathBuf, String)>,
    /// File with the key that must have signed it.
    pub signer: Option<String>,
}

impl SignedKey {
    /// Checks the detached signature, if there is one.
    ///
    /// # Errors
    /// See [`VerificationKeyError`].
    pub fn verify(&self) -> Result<(), VerificationKeyError> {
        let Some((signature_path, signature_name)) = &self.signature else { return Ok(()) };
        let signer = self.signer.as_ref().ok_or_else(|| VerificationKeyError::KeyMissing(signature_name.clone()))?;
        let key = read(Path::new(signer))?;
        if key.trim_ascii_start().starts_with(PGP_KEY) {
            return Err(VerificationKeyError::OpenPgp(signer.clone()));
        }
        if verifies(&key, &read(&self.path)?, &read(signature_path)?) {
            return Ok(());
        }
        Err(VerificationKeyError::Signature {
            file: self.name.clone(),
            signature: signature_name.clone(),
            key: signer.clone(),
        })
    }
}

/// The key ring of these files as the verifier stores it; an empty text for none.
///
/// # Errors
/// See [`VerificationKeyError`].
pub fn keyring_json(keys: &[SignedKey]) -> Result<String, VerificationKeyError> {
    if keys.is_empty() {
        return Ok(String::new());
    }
    let mut ring = Keyring::default();
    for key in keys {
        let read = key_reading::read_key(&read(&key.path)?).map_err(|error| match error {
            KeyReadError::NotAKey => VerificationKeyError::NotAKey(key.name.clone()),
            KeyReadError::UnsupportedType(kind) => VerificationKeyError::Unsupported { path: key.name.clone(), kind },
        })?;
        ring.add(&read);
    }
    Ok(ring.to_json())
}

/// Whether an EC key in PEM form verifies an ECDSA signature with SHA-256, in DER form, over the content.
fn verifies(key_pem: &[u8], content: &[u8], signature: &[u8]) -> bool {
    if !key_pem.trim_ascii_start().starts_with(PUBLIC_KEY) {
        return false;
    }
    let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(key_pem) else { return false };
    [&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA256_ASN1, &ECDSA_P521_SHA256_ASN1]
        .into_iter()
        .any(|algorithm| UnparsedPublicKey::new(algorithm, spki.as_ref()).verify(content, signature).is_ok())
}

fn read(path: &Path) -> Result<Vec<u8>, VerificationKeyError> {
    payload::read(path).map_err(|error| VerificationKeyError::Io(error.to_string()))
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};

    use super::*;

    #[test]
    fn signed_keys_are_taken_only_with_a_signature_that_verifies() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (key, signer) = (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), KeyPair::generate().unwrap());
        let pem = key.public_key_pem();
        std::fs::write(path("key.pem"), &pem).unwrap();
        std::fs::write(path("signer.pem"), signer.public_key_pem()).unwrap();
        std::fs::write(path("good.sig"), signer.sign(pem.as_bytes()).unwrap()).unwrap();
        std::fs::write(path("bad.sig"), signer.sign(b"other").unwrap()).unwrap();
        let signed = |signature: Option<&str>, signer: Option<&str>| SignedKey {
            path: path("key.pem"),
            name: "key".into(),
            signature: signature.map(|name| (path(name), name.to_owned())),
            signer: signer.map(|name| path(name).to_string_lossy().into_owned()),
        };
        assert!(signed(None, None).verify().is_ok());
        assert!(signed(Some("good.sig"), Some("signer.pem")).verify().is_ok());
        let bad = signed(Some("bad.sig"), Some("signer.pem")).verify();
        assert!(matches!(bad, Err(VerificationKeyError::Signature { .. })));
        assert!(matches!(signed(Some("good.sig"), None).verify(), Err(VerificationKeyError::KeyMissing(_))));

        let ring = keyring_json(&[signed(None, None)]).unwrap();
        assert_eq!(Keyring::from_json(&ring).unwrap().unwrap().len(), 1);
        assert_eq!(keyring_json(&[]).unwrap(), "");
        std::fs::write(path("key.pem"), "nothing").unwrap();
        assert!(matches!(keyring_json(&[signed(None, None)]), Err(VerificationKeyError::NotAKey(_))));
    }
}
