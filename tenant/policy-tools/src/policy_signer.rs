//! Signs policies in DSSE envelopes, with a key or with a certificate made for it (`runtime-policy.md` §5).

use crate::environment::{Environment, FileError};
use crate::signing_key::{SigningKey, SigningKeyError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::policy::dsse;
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::Value;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use time::Duration;

/// Name of subject and issuer of the certificates.
const CERTIFICATE_NAME: &str = "dsse_lib";

/// What verifiers are given to verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend<'p> {
    /// The public key, which they must know.
    Ecdsa,
    /// A certificate in the envelope, also written to this file.
    X509(&'p str),
}

/// Why a policy cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No certificate can be made for the key.
    #[error("no certificate can be made for the key: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A key that signs policies.
pub struct PolicySigner {
    key: SigningKey,
    key_id: String,
}

impl PolicySigner {
    /// A signer with a key of its own or, when none is given, with a new one that is written to a file.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn new(
        environment: &Environment,
        key: Option<SigningKey>,
        new_key_path: &str,
        backend: Backend<'_>,
    ) -> Result<Self, SignError> {
        let key = match key {
            Some(key) => key,
            None => {
                let key = SigningKey::generate()?;
                write_private(environment, new_key_path, key.to_pem()?.as_bytes())?;
                key
            }
        };
        let key_id = match backend {
            Backend::Ecdsa => dsse::key_id(&key.public()?),
            Backend::X509(path) => {
                let certificate = certificate_pem(environment, &key)?;
                let fail = |error| FileError { path: path.to_owned(), error };
                std::fs::write(environment.path(path), &certificate).map_err(fail)?;
                STANDARD.encode(certificate)
            }
        };
        Ok(Self { key, key_id })
    }

    /// An envelope around a payload.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&self, payload: &[u8]) -> Result<Value, SignError> {
        let covered = dsse::pre_authentication_encoding(dsse::PAYLOAD_TYPE, payload);
        Ok(dsse::envelope(dsse::PAYLOAD_TYPE, payload, &self.key.sign(&covered)?, &self.key_id))
    }
}

/// A certificate that the key issues to itself, valid from yesterday for a month.
fn certificate_pem(environment: &Environment, key: &SigningKey) -> Result<String, SignError> {
    let der = rustls_pki_types::PrivateKeyDer::from(rustls_pki_types::PrivateSec1KeyDer::from(key.to_der()?));
    let pair = KeyPair::try_from(&der)?;
    let mut params = CertificateParams::new(vec![CERTIFICATE_NAME.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, CERTIFICATE_NAME);
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = environment.now() - Duration::days(1);
    params.not_after = environment.now() + Duration::days(30);
    Ok(params.self_signed(&pair)?.pem())
}

/// Writes a private key that only its owner can read.
fn write_private(environment: &Environment, path: &str, pem: &[u8]) -> Result<(), FileError> {
    let fail = |error: io::Error| FileError { path: path.to_owned(), error };
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(environment.path(path)).map_err(fail)?;
    file.write_all(pem).map_err(fail)
}
