//! A certificate authority in a directory, file-compatible with Keylime's `keylime_ca`.
//!
//! The directory holds `cacert.crt`, `ca-public.pem`, the revocation list and, per certificate `<name>`,
//! `<name>-cert.crt`, `<name>-private.pem` and `<name>-public.pem`. The private key of the authority exists in the
//! encrypted keystore `private.yml` only.

mod package;
mod profile;
mod revocation_list;
mod subject;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;

pub use package::Package;
pub use profile::Purpose;
pub use subject::{KeyAlgorithm, Subject};

use crate::keystore::{self, Keystore, KeystoreError};
use crate::private_file;
use crate::private_key::{self, PrivateKeyError};

/// File name of the authority's certificate.
pub const CA_CERTIFICATE: &str = "cacert.crt";
const CA_PUBLIC_KEY: &str = "ca-public.pem";
const REVOCATION_LIST_DER: &str = "cacrl.der";
const REVOCATION_LIST_PEM: &str = "cacrl.pem";

/// Longest certificate name, in bytes: file names of 255 bytes end in `-private.pem`.
const MAX_NAME_BYTES: usize = 200;

/// Why an authority operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of the directory cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The keystore is missing, malformed, or the password is wrong.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The certificate name cannot be part of a file name, or is a field name of the keystore.
    #[error("'{0}' cannot be the name of a certificate")]
    Name(String),
    /// RSA keys of this size are not generated.
    #[error("RSA keys of {0} bits are not supported: use 2048, 3072 or 4096")]
    KeySize(u32),
    /// A certificate file does not hold a certificate.
    #[error("{0} does not hold a certificate")]
    Certificate(PathBuf),
    /// A distinguished name, alternative name or address of the list cannot be encoded.
    #[error("{0} cannot be encoded in a certificate")]
    Encoding(&'static str),
    /// The authority's key is missing or not usable for signing.
    #[error("private key of the authority is not usable")]
    SigningKey,
    /// A private key could not be read or protected.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// Key generation or signing failed.
    #[error("key generation or signing failed: {0}")]
    Crypto(String),
    /// No certificate with this name was issued here.
    #[error("no certificate named {0} was issued by this authority")]
    NotIssued(String),
    /// The package cannot be written.
    #[error("package cannot be written: {0}")]
    Package(String),
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Its serial number.
    pub serial: u64,
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key in PEM, encrypted if a password was given.
    pub private_key_pem: String,
    /// The public key in PEM.
    pub public_key_pem: String,
}

/// An opened CA directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    keystore: Keystore,
    certificate: CertificateDer<'static>,
    subject: Subject,
}

impl Authority {
    /// Creates a new authority, with an empty revocation list, replacing what the directory held.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn init(directory: &Path, subject: &Subject, password: &str) -> Result<Self, AuthorityError> {
        create_directory(directory)?;
        remove_authority_files(directory)?;
        let key = profile::generate_key(subject.algorithm, subject.bits)?;
        let issued = profile::certify_authority(subject, &key, now())?;
        let mut keystore = Keystore::create(password)?;
        keystore.authority_key = key.serialize_pem().into_bytes();
        let authority = Self {
            directory: directory.to_owned(),
            keystore,
            certificate: issued.der().clone(),
            subject: subject.clone(),
        };
        authority.save_keystore()?;
        authority.write(CA_CERTIFICATE, issued.pem().as_bytes())?;
        authority.write(CA_PUBLIC_KEY, key.public_key_pem().as_bytes())?;
        authority.write_revocation_list()?;
        Ok(authority)
    }

    /// Opens an existing authority.
    ///
    /// New certificates repeat the authority's country, state, locality, organisation, unit, key size and revocation
    /// list address, and are valid for [`Subject::DEFAULT_LIFETIME_DAYS`]; [`Authority::with_subject`] changes that.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn open(directory: &Path, password: &str) -> Result<Self, AuthorityError> {
        let certificate = read_certificate(&directory.join(CA_CERTIFICATE))?;
        let subject = Subject::of_authority(&certificate)
            .ok_or_else(|| AuthorityError::Certificate(directory.join(CA_CERTIFICATE)))?;
        let keystore = Keystore::open(&directory.join(keystore::FILE_NAME), password)?;
        Ok(Self { directory: directory.to_owned(), keystore, certificate, subject })
    }

    /// Whether a directory holds the certificate of an authority.
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        directory.join(CA_CERTIFICATE).is_file()
    }

    /// Issues further certificates with this subject, lifetime and key size.
    #[must_use]
    pub fn with_subject(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The directory of the authority.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether certificate and private key of this name are in the directory.
    #[must_use]
    pub fn has_issued(&self, name: &str) -> bool {
        self.path(name, "-cert.crt").is_file() && self.path(name, "-private.pem").is_file()
    }

    /// Issues a certificate for a new key, for servers and clients alike, and writes its files.
    ///
    /// Without alternative names, the name itself becomes the only one. With a password, the key file and the
    /// keystore's copy are encrypted with it.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue(
        &mut self,
        name: &str,
        san_dns: &[String],
        san_ip: &[IpAddr],
        key_password: Option<&str>,
    ) -> Result<Issued, AuthorityError> {
        self.issue_for(name, san_dns, san_ip, key_password, None)
    }

    /// Issues like [`Authority::issue`] for an RSA key, whatever kind is configured.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_rsa(&mut self, name: &str) -> Result<Issued, AuthorityError> {
        let configured = std::mem::replace(&mut self.subject.algorithm, KeyAlgorithm::Rsa);
        let issued = self.issue(name, &[], &[], None);
        self.subject.algorithm = configured;
        issued
    }

    /// Issues like [`Authority::issue`], restricted to a purpose by an extended key usage.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_for(
        &mut self,
        name: &str,
        san_dns: &[String],
        san_ip: &[IpAddr],
        key_password: Option<&str>,
        purpose: Option<Purpose>,
    ) -> Result<Issued, AuthorityError> {
        check_name(name)?;
        let signing_key = self.signing_key()?;
        let serial = self.keystore.last_serial.checked_add(1).ok_or(AuthorityError::Encoding("serial number"))?;
        let key = profile::generate_key(self.subject.algorithm, self.subject.bits)?;
        let leaf = profile::Leaf { name, serial, san_dns, san_ip, purpose };
        let certificate = profile::certify(&leaf, &self.subject, &key, &self.certificate, signing_key, now())?;
        let private_key_pem = match key_password.filter(|password| !password.is_empty()) {
            Some(password) => private_key::encrypt_pem(key.serialized_der(), password)?,
            None => key.serialize_pem(),
        };
        let issued = Issued {
            serial,
            certificate_pem: certificate.pem(),
            private_key_pem,
            public_key_pem: key.public_key_pem(),
        };
        // The serial is spent before the certificate exists, so that a crash in between cannot use it twice.
        self.keystore.last_serial = serial;
        self.keystore.issued.insert(name.to_owned(), issued.private_key_pem.clone().into_bytes());
        self.save_keystore()?;
        self.write(&format!("{name}-private.pem"), issued.private_key_pem.as_bytes())?;
        self.write(&format!("{name}-public.pem"), issued.public_key_pem.as_bytes())?;
        self.write(&format!("{name}-cert.crt"), issued.certificate_pem.as_bytes())?;
        Ok(issued)
    }

    /// Revokes the certificate of a name and writes a new revocation list; revoking it again only renews the list.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn revoke(&mut self, name: &str) -> Result<(), AuthorityError> {
        check_name(name)?;
        let certificate = read_certificate(&self.path(name, "-cert.crt"))?;
        let serial = revocation_list::decimal_serial(&certificate)
            .ok_or_else(|| AuthorityError::Certificate(self.path(name, "-cert.crt")))?;
        if !self.keystore.revoked.contains(&serial) {
            self.keystore.revoked.push(serial);
            self.save_keystore()?;
        }
        self.write_revocation_list()
    }

    /// Packs the certificate, keys and revocation list a machine needs into a ZIP archive, in memory.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn package(&self, name: &str) -> Result<Package, AuthorityError> {
        check_name(name)?;
        let key = self.keystore.issued.get(name).ok_or_else(|| AuthorityError::NotIssued(name.to_owned()))?;
        package::assemble(&self.directory, name, key)
    }

    /// Writes a package as `<name>-pkg.zip`, readable by the owner only, and returns its path.
    ///
    /// # Errors
    /// [`AuthorityError::Io`].
    pub fn write_package(&self, name: &str, package: &Package) -> Result<PathBuf, AuthorityError> {
        check_name(name)?;
        let path = self.path(name, "-pkg.zip");
        private_file::write(&path, &package.zip, private_file::OWNER_ONLY)
            .map_err(|source| AuthorityError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// Puts an existing authority key into the keystore of a directory, creating the store if needed.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn import_key(
        directory: &Path,
        password: &str,
        key_pem: &[u8],
        last_serial: u64,
    ) -> Result<(), AuthorityError> {
        let der = private_key::read_pem(key_pem, None)?;
        let key = KeyPair::try_from(&der).map_err(|_| AuthorityError::SigningKey)?;
        let path = directory.join(keystore::FILE_NAME);
        let mut store = if path.exists() { Keystore::open(&path, password)? } else { Keystore::create(password)? };
        store.authority_key = key.serialize_pem().into_bytes();
        store.last_serial = last_serial.checked_add(1).ok_or(AuthorityError::Encoding("serial number"))?;
        Ok(store.save(&path)?)
    }

    fn signing_key(&self) -> Result<KeyPair, AuthorityError> {
        let der = private_key::read_pem(&self.keystore.authority_key, None).map_err(|_| AuthorityError::SigningKey)?;
        KeyPair::try_from(&der).map_err(|_| AuthorityError::SigningKey)
    }

    fn write_revocation_list(&self) -> Result<(), AuthorityError> {
        let list = revocation_list::sign(&self.certificate, &self.signing_key()?, &self.keystore.revoked, now())?;
        self.write(REVOCATION_LIST_DER, &list.der)?;
        self.write(REVOCATION_LIST_PEM, list.pem.as_bytes())
    }

    fn save_keystore(&self) -> Result<(), AuthorityError> {
        Ok(self.keystore.save(&self.directory.join(keystore::FILE_NAME))?)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), AuthorityError> {
        let path = self.directory.join(name);
        private_file::write(&path, content, private_file::SHARED_WITH_GROUP)
            .map_err(|source| AuthorityError::Io { path, source })
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.directory.join(format!("{name}{suffix}"))
    }
}

/// Refuses names that would leave the directory or replace the authority's own fields and files.
fn check_name(name: &str) -> Result<(), AuthorityError> {
    let printable = name.chars().all(|character| character != '/' && !character.is_control());
    let reserved = keystore::RESERVED_NAMES.contains(&name);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !printable || reserved {
        return Err(AuthorityError::Name(name.escape_debug().to_string()));
    }
    Ok(())
}

fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

fn create_directory(directory: &Path) -> Result<(), AuthorityError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| AuthorityError::Io { path: directory.to_owned(), source })
}

/// Removes everything an earlier authority left: its keys cannot be opened with the new keystore.
fn remove_authority_files(directory: &Path) -> Result<(), AuthorityError> {
    let failed = |source| AuthorityError::Io { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let by_extension =
            path.extension().is_some_and(|extension| ["pem", "crt", "zip", "der"].iter().any(|old| extension == *old));
        let is_keystore = path.file_name().is_some_and(|name| name == keystore::FILE_NAME);
        if by_extension || is_keystore {
            fs::remove_file(&path).map_err(|source| AuthorityError::Io { path, source })?;
        }
    }
    Ok(())
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    let text = private_file::read(path).map_err(|source| AuthorityError::Io { path: path.to_owned(), source })?;
    CertificateDer::from_pem_slice(&text).map_err(|_| AuthorityError::Certificate(path.to_owned()))
}
