//! The files a server's TLS configuration is made of.

use super::TlsPaths;
use crate::configuration::TlsConfiguration;
use keylime_pki::tls::{self, TlsError};
use rustls::ServerConfig;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Mode bits that let anybody read a file.
const READABLE_BY_ALL: u32 = 0o004;
const REVOCATION_LIST: &str = "cacrl.der";

/// Why a server has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The directory is not there.
    #[error("It appears that the specified tls_dir does not exist: {0}")]
    NoDirectory(PathBuf),
    /// A private key is there for everybody (CVE-2022-23952).
    #[error("private key {0} is readable by everybody; remove the permission with: chmod o-rwx {0}")]
    ExposedKey(PathBuf),
    /// A file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The files behind one server's TLS configuration.
#[derive(Clone)]
pub struct ServerTlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    key_password: Option<String>,
    /// `None`: client certificates are not asked for.
    client_authorities: Option<Vec<PathBuf>>,
}

impl ServerTlsFiles {
    /// Finds the files.
    ///
    /// # Errors
    /// When the directory is missing or a private key is there for everybody.
    pub fn locate(paths: &TlsPaths, configuration: &TlsConfiguration) -> Result<Self, TlsSetupError> {
        if !paths.directory().is_dir() {
            return Err(TlsSetupError::NoDirectory(paths.directory().to_owned()));
        }
        let key = paths.file(configuration.server_key.as_deref(), "server-private.pem");
        refuse_exposed(&key)?;
        let client_authorities = paths.authorities(&configuration.trusted_client_ca);
        if client_authorities.is_none() {
            tracing::warn!(
                target: "keylime.web",
                "trusted_client_ca is 'all': client certificates are not asked for, so nobody can act as an administrator"
            );
        }
        Ok(Self {
            certificate: paths.file(configuration.server_cert.as_deref(), "server-cert.crt"),
            key,
            key_password: configuration.server_key_password.clone(),
            client_authorities,
        })
    }

    /// Builds the TLS configuration from the files as they are.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(&self) -> Result<ServerConfig, TlsSetupError> {
        let identity = tls::load_identity(&self.certificate, &self.key, self.key_password.as_deref())?;
        let Some(authorities) = &self.client_authorities else { return Ok(tls::no_client_auth(identity)?) };
        let mut trusted = Vec::new();
        for file in authorities {
            trusted.extend(tls::load_certificates(file)?);
        }
        let lists = self.revocation_lists().iter().map(|file| tls::load_crl(file)).collect::<Result<_, _>>()?;
        Ok(tls::optional_client_auth(identity, trusted, lists)?)
    }

    /// The revocation lists that lie beside the trusted authorities and are not empty.
    fn revocation_lists(&self) -> Vec<PathBuf> {
        let mut lists: Vec<PathBuf> = Vec::new();
        for authority in self.client_authorities.iter().flatten() {
            let list = authority.with_file_name(REVOCATION_LIST);
            let used = fs::metadata(&list).is_ok_and(|file| file.len() > 0);
            if used && !lists.contains(&list) {
                lists.push(list);
            }
        }
        lists
    }

    /// When each file was last changed; differs when a certificate was renewed or revoked.
    #[must_use]
    pub fn stamp(&self) -> Vec<Option<SystemTime>> {
        let authorities = self.client_authorities.iter().flatten();
        let lists = authorities.clone().map(|authority| authority.with_file_name(REVOCATION_LIST));
        let files = [self.certificate.clone(), self.key.clone()].into_iter().chain(authorities.cloned()).chain(lists);
        files.map(|file| fs::metadata(file).and_then(|file| file.modified()).ok()).collect()
    }
}

/// Refuses a private key that everybody may read.
pub(crate) fn refuse_exposed(key: &Path) -> Result<(), TlsSetupError> {
    match fs::metadata(key) {
        Ok(file) if file.mode() & READABLE_BY_ALL != 0 => Err(TlsSetupError::ExposedKey(key.to_owned())),
        // A missing file is reported with its path when it is read.
        Ok(_) | Err(_) => Ok(()),
    }
}
