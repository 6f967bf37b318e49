//! Certificates, keys and revocation lists from files.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;
use crate::{private_file, private_key};

/// A certificate chain, leaf first, and the leaf's private key.
#[derive(Debug)]
pub struct Identity {
    /// The chain.
    pub certs: Vec<CertificateDer<'static>>,
    /// The key; its `Debug` form does not show it.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { certs: self.certs.clone(), key: self.key.clone_key() }
    }
}

/// Reads a chain and its key; the password opens an encrypted key.
///
/// # Errors
/// [`TlsError`] if a file cannot be read or decoded, or the password is wrong.
pub fn load_identity(cert: &Path, key: &Path, password: Option<&str>) -> Result<Identity, TlsError> {
    let certs = load_certificates(cert)?;
    let key_pem = read(key)?;
    let key = private_key::read_pem(&key_pem, password)
        .map_err(|source| TlsError::PrivateKey { path: key.to_owned(), source })?;
    Ok(Identity { certs, key })
}

/// Reads all certificates of a PEM file; there must be at least one.
///
/// # Errors
/// [`TlsError::Io`] or [`TlsError::NoCertificate`].
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| TlsError::NoCertificate(path.to_owned()))
}

/// Reads a revocation list in DER or PEM form.
///
/// # Errors
/// [`TlsError::Io`]; the content is checked where it is used.
pub fn load_crl(path: &Path) -> Result<Vec<u8>, TlsError> {
    let content = read(path)?;
    Ok(CertificateRevocationListDer::from_pem_slice(&content).map_or(content, |list| list.to_vec()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    private_file::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}
