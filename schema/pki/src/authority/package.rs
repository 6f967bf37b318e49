//! The certificate package of a machine: an uncompressed ZIP archive.

use std::io::{Cursor, Write as _};
use std::path::Path;

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{AuthorityError, CA_CERTIFICATE, REVOCATION_LIST_DER, REVOCATION_LIST_PEM, read_certificate};
use crate::private_file;

/// A certificate package and what it identifies.
#[derive(Debug, Clone)]
pub struct Package {
    /// The ZIP archive.
    pub zip: Vec<u8>,
    /// Serial number of the certificate.
    pub serial: u64,
    /// Subject of the certificate in the notation of RFC 4514.
    pub subject: String,
}

/// Collects the files of a package in Keylime's order.
pub(super) fn assemble(directory: &Path, name: &str, private_key: &[u8]) -> Result<Package, AuthorityError> {
    let certificate_path = directory.join(format!("{name}-cert.crt"));
    let der = read_certificate(&certificate_path)?;
    let malformed = || AuthorityError::Certificate(certificate_path.clone());
    let certificate = Certificate::from_der(&der).map_err(|_| malformed())?;
    let serial =
        super::revocation_list::decimal_serial(&der).and_then(|serial| serial.parse().ok()).ok_or_else(malformed)?;
    let subject = certificate.tbs_certificate().subject().to_string();

    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    let mut add = |name: &str, content: &[u8]| {
        archive
            .start_file(name, options)
            .map_err(|error| AuthorityError::Package(error.to_string()))
            .and_then(|()| archive.write_all(content).map_err(|error| AuthorityError::Package(error.to_string())))
    };
    let read = |name: &str| {
        let path = directory.join(name);
        private_file::read(&path).map_err(|source| AuthorityError::Io { path, source })
    };
    for name in [format!("{name}-public.pem"), format!("{name}-cert.crt")] {
        add(&name, &read(&name)?)?;
    }
    add(&format!("{name}-private.pem"), private_key)?;
    for name in [CA_CERTIFICATE, REVOCATION_LIST_DER, REVOCATION_LIST_PEM] {
        add(name, &read(name)?)?;
    }
    let zip = archive.finish().map_err(|error| AuthorityError::Package(error.to_string()))?.into_inner();
    Ok(Package { zip, serial, subject })
}
