//! The self-signed certificate of the agent's HTTP server; the registrar hands it to the verifier and the tenant.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls_pki_types::PrivateKeyDer;
use time::{Duration, OffsetDateTime};

use crate::private_file;

/// Lifetime of a certificate made here.
const LIFETIME: Duration = Duration::days(365);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read or written.
    #[error("cannot access certificate file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not text.
    #[error("certificate file {} is not pem", .0.display())]
    NotPem(PathBuf),
    /// The certificate could not be made.
    #[error("cannot make the server certificate: {0}")]
    Generation(#[from] rcgen::Error),
}

/// Reads the certificate's PEM text, or makes one for this agent and writes it.
///
/// # Errors
/// See [`CertificateError`].
pub fn open_server_certificate(
    path: &Path,
    key: &PrivateKeyDer<'_>,
    agent_id: &str,
    contact_ip: &str,
) -> Result<String, CertificateError> {
    let failed = |source| CertificateError::File { path: path.to_owned(), source };
    if let Some(content) = private_file::read(path).map_err(failed)? {
        return String::from_utf8(content).map_err(|_| CertificateError::NotPem(path.to_owned()));
    }
    let text = generate(key, agent_id, contact_ip, OffsetDateTime::now_utc())?;
    private_file::write(path, text.as_bytes()).map_err(failed)?;
    Ok(text)
}

fn generate(
    key: &PrivateKeyDer<'_>,
    agent_id: &str,
    contact_ip: &str,
    now: OffsetDateTime,
) -> Result<String, CertificateError> {
    let pair = KeyPair::try_from(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, agent_id);
    params.not_before = now;
    params.not_after = now + LIFETIME;
    params.subject_alt_names = subject_alt_names(contact_ip)?;
    Ok(params.self_signed(&pair)?.pem())
}

fn subject_alt_names(contact_ip: &str) -> Result<Vec<SanType>, rcgen::Error> {
    let mut names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::DnsName("localhost.domain".try_into()?),
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
        SanType::IpAddress(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
    ];
    let contact = match contact_ip.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(contact_ip.try_into()?),
    };
    if !names.contains(&contact) {
        names.push(contact);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    use x509_parser::prelude::*;

    #[test]
    fn certificate_names_agent_and_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let key = crate::keys::open_server_key(&directory.path().join("key"), "").unwrap();
        let path = directory.path().join("cert");
        let text = open_server_certificate(&path, &key, "agent-1", "10.0.0.7").unwrap();
        assert_eq!(open_server_certificate(&path, &key, "another", "10.0.0.8").unwrap(), text);
        let der = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=agent-1");
        assert_eq!(certificate.subject(), certificate.issuer());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 5);
        assert!(certificate.basic_constraints().unwrap().is_none());
    }
}
