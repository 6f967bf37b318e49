//! The encrypted keystore of a CA directory, `private.yml`, in the format of Keylime's `keylime_ca`.
//!
//! The file is a YAML mapping of a salt and a sealed YAML mapping. The sealing key is PBKDF2-HMAC-SHA256 of the
//! password over the base64 *text* of the salt; the sealed text is an envelope of [`crate::payload_cipher`], which
//! YAML's binary type encodes a second time.

mod mapping;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use mapping::MappingError;
use mapping::Value;

use crate::payload_cipher::{self, CipherError};
use crate::private_file;

/// Name of the keystore in a CA directory.
pub(crate) const FILE_NAME: &str = "private.yml";
/// Names in the sealed mapping that are not names of certificates.
pub(crate) const RESERVED_NAMES: [&str; 3] = ["ca", "lastserial", "revoked_keys"];

const SALT_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// Why a keystore was not opened or saved.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The file cannot be read or written.
    #[error("keystore cannot be accessed: {0}")]
    Io(#[from] io::Error),
    /// The password does not open the store. The text is the one Keylime prints.
    #[error("Invalid password for keystore")]
    Password,
    /// The file or its sealed content is not the mapping a keystore holds.
    #[error("keystore is malformed: {0}")]
    Malformed(#[from] MappingError),
    /// A field is missing or has another type than the format says.
    #[error("keystore has no valid field {0}")]
    Field(&'static str),
    /// The content cannot be sealed.
    #[error("keystore cannot be sealed: {0}")]
    Cipher(CipherError),
}

/// An open keystore.
pub(crate) struct Keystore {
    salt: String,
    sealing_key: [u8; KEY_BYTES],
    /// The private key of the authority, PKCS#8 in PEM; empty before there is one.
    pub(crate) authority_key: Vec<u8>,
    /// Serial number of the certificate issued last.
    pub(crate) last_serial: u64,
    /// Revoked serial numbers in decimal, in the order of their revocation.
    pub(crate) revoked: Vec<String>,
    /// Private keys by certificate name, in PEM as they were issued: encrypted if a password was asked for.
    pub(crate) issued: BTreeMap<String, Vec<u8>>,
}

impl Keystore {
    /// An empty store with a new salt.
    pub(crate) fn create(password: &str) -> Result<Self, KeystoreError> {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| KeystoreError::Cipher(CipherError::Entropy))?;
        let salt = STANDARD.encode(salt);
        Ok(Self {
            sealing_key: derive_key(password, &salt),
            salt,
            authority_key: Vec::new(),
            last_serial: 1,
            revoked: Vec::new(),
            issued: BTreeMap::new(),
        })
    }

    /// Reads and decrypts a store.
    pub(crate) fn open(path: &Path, password: &str) -> Result<Self, KeystoreError> {
        Self::parse(&private_file::read(path)?, password)
    }

    /// Encrypts and replaces the file.
    pub(crate) fn save(&self, path: &Path) -> Result<(), KeystoreError> {
        Ok(private_file::write(path, self.render()?.as_bytes(), private_file::SHARED_WITH_GROUP)?)
    }

    fn parse(file: &[u8], password: &str) -> Result<Self, KeystoreError> {
        let file = std::str::from_utf8(file).map_err(|_| KeystoreError::Field("priv"))?;
        let mut outer = mapping::parse(file)?;
        let Some(Value::Text(salt)) = outer.remove("salt") else { return Err(KeystoreError::Field("salt")) };
        let Some(Value::Binary(envelope)) = outer.remove("priv") else { return Err(KeystoreError::Field("priv")) };
        let sealing_key = derive_key(password, &salt);
        let plaintext = payload_cipher::open(&sealing_key, &envelope).map_err(|_| KeystoreError::Password)?;
        let plaintext = String::from_utf8(plaintext).map_err(|_| KeystoreError::Field("priv"))?;
        Self::from_mapping(mapping::parse(&plaintext)?, salt, sealing_key)
    }

    fn from_mapping(
        mut content: BTreeMap<String, Value>,
        salt: String,
        sealing_key: [u8; KEY_BYTES],
    ) -> Result<Self, KeystoreError> {
        let Some(Value::Binary(authority_key)) = content.remove("ca") else { return Err(KeystoreError::Field("ca")) };
        let last_serial = match content.remove("lastserial") {
            Some(Value::Integer(serial)) => u64::try_from(serial).map_err(|_| KeystoreError::Field("lastserial"))?,
            Some(Value::Binary(_) | Value::Text(_) | Value::List(_)) | None => {
                return Err(KeystoreError::Field("lastserial"));
            }
        };
        let revoked = match content.remove("revoked_keys") {
            Some(Value::List(serials)) => serials,
            None => Vec::new(),
            Some(Value::Binary(_) | Value::Text(_) | Value::Integer(_)) => {
                return Err(KeystoreError::Field("revoked_keys"));
            }
        };
        let issued = content
            .into_iter()
            .map(|(name, value)| match value {
                Value::Binary(key) => Ok((name, key)),
                Value::Text(key) => Ok((name, key.into_bytes())),
                Value::Integer(_) | Value::List(_) => Err(KeystoreError::Field("private key")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { salt, sealing_key, authority_key, last_serial, revoked, issued })
    }

    fn render(&self) -> Result<String, KeystoreError> {
        let mut content: BTreeMap<String, Value> =
            self.issued.iter().map(|(name, key)| (name.clone(), Value::Binary(key.clone()))).collect();
        let serial = i64::try_from(self.last_serial).map_err(|_| KeystoreError::Field("lastserial"))?;
        content.insert("ca".to_owned(), Value::Binary(self.authority_key.clone()));
        content.insert("lastserial".to_owned(), Value::Integer(serial));
        content.insert("revoked_keys".to_owned(), Value::List(self.revoked.clone()));
        let envelope = payload_cipher::seal(&self.sealing_key, mapping::render(&content).as_bytes())
            .map_err(KeystoreError::Cipher)?;
        let outer = BTreeMap::from([
            ("priv".to_owned(), Value::Binary(envelope.into_bytes())),
            ("salt".to_owned(), Value::Text(self.salt.clone())),
        ]);
        Ok(mapping::render(&outer))
    }
}

impl fmt::Debug for Keystore {
    /// Shows names and serials only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore")
            .field("last_serial", &self.last_serial)
            .field("revoked", &self.revoked)
            .field("issued", &self.issued.keys())
            .finish_non_exhaustive()
    }
}

fn derive_key(password: &str, salt: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt.as_bytes(), password.as_bytes(), &mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/data/ca.json")).unwrap()
    }

    #[test]
    fn opens_a_store_of_the_reference() {
        let vector = vector();
        let file = vector["private_yml"].as_str().unwrap();
        let store = Keystore::parse(file.as_bytes(), "testpass").unwrap();
        assert_eq!(hex::encode(store.sealing_key), vector["kdf_key_hex"].as_str().unwrap());
        assert_eq!(store.last_serial, 3);
        assert_eq!(store.revoked, ["2"]);
        assert_eq!(store.issued.keys().collect::<Vec<_>>(), ["client", "server"]);
        assert!(store.authority_key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
        assert!(matches!(Keystore::parse(file.as_bytes(), "other"), Err(KeystoreError::Password)));
    }

    #[test]
    fn writes_the_bytes_of_the_reference_inside_the_envelope() {
        let vector = vector();
        let store = Keystore::parse(vector["private_yml"].as_str().unwrap().as_bytes(), "testpass").unwrap();
        let rendered = mapping::parse(&store.render().unwrap()).unwrap();
        let Value::Binary(envelope) = &rendered["priv"] else { panic!("no envelope") };
        let plaintext = payload_cipher::open(&store.sealing_key, envelope).unwrap();
        let expected = vector["decrypted_yaml"].as_str().unwrap().replace("- '2'", "- \"2\"");
        assert_eq!(String::from_utf8(plaintext).unwrap(), expected);
    }

    #[test]
    fn a_new_store_has_serial_one_and_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        Keystore::create("pw").unwrap().save(&path).unwrap();
        let store = Keystore::open(&path, "pw").unwrap();
        assert_eq!((store.last_serial, store.authority_key.len(), store.revoked.len()), (1, 0, 0));
    }
}
