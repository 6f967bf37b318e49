//! The package `--cert` delivers: a certificate of the operator's authority for the agent, the certificate that verifies
//! revocations, and files of the operator's choice.

use std::fs;
use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};

use keylime_pki::authority::{Authority, AuthorityError};
use keylime_settings::work_dir;
use tracing::{info, warn};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::ca_settings::{self, CaSettingsError};

/// Name of the certificate whose key signs revocations.
const REVOCATION_NOTIFIER: &str = "RevocationNotifier";
/// Most files taken from the directory of `--include`.
const MAX_INCLUDED_FILES: usize = 10_000;

/// Why no package can be made.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The authority's options or password.
    #[error(transparent)]
    Settings(#[from] CaSettingsError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive cannot be extended.
    #[error("cannot extend the certificate package: {0}")]
    Archive(String),
    /// The directory of `--include` holds too many files.
    #[error("the directory of --include holds more than {MAX_INCLUDED_FILES} files")]
    TooMany,
}

/// A package and what the verifier gets to know about it.
#[derive(Debug, Clone)]
pub struct CertificatePackage {
    /// The archive.
    pub zip: Vec<u8>,
    /// Serial number of the agent's certificate.
    pub serial: u64,
    /// Subject of the agent's certificate.
    pub subject: String,
    /// Private key, in PEM, that signs revocations.
    pub revocation_key: String,
}

/// Opens the authority of `--cert`, or makes it, and packs the agent's certificate.
///
/// # Errors
/// See [`PackageError`].
pub fn build(directory: &str, agent_id: &str, include: Option<&Path>) -> Result<CertificatePackage, PackageError> {
    let directory = match directory {
        "default" => work_dir().join("ca"),
        other => PathBuf::from(other),
    };
    let config = ca_settings::load()?;
    let subject = ca_settings::subject(&config)?;
    let password = ca_settings::password(&config)?;
    let authority = if Authority::exists(&directory) {
        Authority::open(&directory, &password)?.with_subject(subject)
    } else {
        warn!(target: "keylime.tenant", "CA directory does not exist. Creating...");
        Authority::init(&directory, &subject, &password)?
    };
    pack(authority, agent_id, include)
}

fn pack(mut authority: Authority, agent_id: &str, include: Option<&Path>) -> Result<CertificatePackage, PackageError> {
    if !authority.has_issued(agent_id) {
        authority.issue(agent_id, &[], &[], None)?;
    }
    let package = authority.package(agent_id)?;
    authority.write_package(agent_id, &package)?;
    if !authority.has_issued(REVOCATION_NOTIFIER) {
        // Notices are signed with RSA-PSS, whatever kind the other keys are of.
        authority.issue_rsa(REVOCATION_NOTIFIER)?;
        let package = authority.package(REVOCATION_NOTIFIER)?;
        authority.write_package(REVOCATION_NOTIFIER, &package)?;
    }
    let certificate = format!("{REVOCATION_NOTIFIER}-cert.crt");
    let certificate_content = read(&authority.directory().join(&certificate))?;
    let revocation_key = read(&authority.directory().join(format!("{REVOCATION_NOTIFIER}-private.pem")))?;
    let revocation_key = String::from_utf8(revocation_key).map_err(|error| PackageError::Archive(error.to_string()))?;

    let mut files = vec![(certificate, certificate_content)];
    if let Some(directory) = include {
        files.extend(included(directory)?);
    }
    let zip = extended(package.zip, &files)?;
    Ok(CertificatePackage { zip, serial: package.serial, subject: package.subject, revocation_key })
}

/// The regular files directly in a directory, by name.
fn included(directory: &Path) -> Result<Vec<(String, Vec<u8>)>, PackageError> {
    let failed = |source| PackageError::Io { path: directory.to_owned(), source };
    if !directory.is_dir() {
        warn!(
            target: "keylime.tenant",
            "Specified include directory {} does not exist. Skipping...", directory.display()
        );
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.is_file() {
            continue;
        }
        if files.len() == MAX_INCLUDED_FILES {
            return Err(PackageError::TooMany);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        info!(target: "keylime.tenant", "Including {name} in the certificate package");
        files.push((name, read(&path)?));
    }
    files.sort();
    Ok(files)
}

fn extended(zip: Vec<u8>, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, PackageError> {
    let failed = |error: zip::result::ZipError| PackageError::Archive(error.to_string());
    let mut archive = ZipWriter::new_append(Cursor::new(zip)).map_err(failed)?;
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    for (name, content) in files {
        archive.start_file(name.as_str(), options).map_err(failed)?;
        archive.write_all(content).map_err(|error| PackageError::Archive(error.to_string()))?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}

fn read(path: &Path) -> Result<Vec<u8>, PackageError> {
    crate::payload::read(path).map_err(|error| match error {
        crate::payload::PayloadError::Io { path, source } => PackageError::Io { path, source },
        other => PackageError::Archive(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use keylime_pki::authority::Subject;
    use zip::ZipArchive;

    use super::*;

    #[test]
    fn packs_certificate_notifier_and_included_files_and_keeps_what_exists() {
        let directory = tempfile::tempdir().unwrap();
        let include = directory.path().join("include");
        fs::create_dir(&include).unwrap();
        fs::create_dir(include.join("folder")).unwrap();
        fs::write(include.join("b.txt"), "b").unwrap();
        fs::write(include.join("a.sh"), "a").unwrap();
        let ca = directory.path().join("ca");
        let authority = Authority::init(&ca, &Subject::default(), "pw").unwrap();

        let package = pack(authority, "agent", Some(&include)).unwrap();

        let mut archive = ZipArchive::new(Cursor::new(&package.zip)).unwrap();
        let names: Vec<String> =
            (0..archive.len()).map(|at| archive.by_index(at).unwrap().name().unwrap().into_owned()).collect();
        let expected = [
            "agent-public.pem",
            "agent-cert.crt",
            "agent-private.pem",
            "cacert.crt",
            "cacrl.der",
            "cacrl.pem",
            "RevocationNotifier-cert.crt",
            "a.sh",
            "b.txt",
        ];
        assert_eq!(names, expected);
        assert!(package.revocation_key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(package.serial, 2);

        let again = pack(Authority::open(&ca, "pw").unwrap(), "agent", Some(Path::new("/nonexistent"))).unwrap();
        assert_eq!((again.serial, again.revocation_key), (package.serial, package.revocation_key));
    }
}
