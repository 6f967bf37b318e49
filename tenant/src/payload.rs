//! What an agent gets delivered: the payload key, its shares, and the encrypted payload (`tenant-cli.md` §5.2).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::identity::payload_key::{InvalidPayloadKey, KEY_BYTES, PayloadKey};
use keylime_pki::payload_cipher::{self, CipherError};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::certificate_package::{self, CertificatePackage, PackageError};
use crate::cli::{DerivationCheck, Options};

/// Largest payload, key or policy file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why no payload comes out of the options.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// More than one source, or none where one is needed.
    #[error("{0}")]
    Options(&'static str),
    /// A file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file does not hold three lines of base64.
    #[error("{0}: not a key file: three lines of base64 are needed")]
    KeyFile(String),
    /// The key file's lines are not a key and its shares.
    #[error(transparent)]
    Key(#[from] InvalidPayloadKey),
    /// The payload file does not hold text.
    #[error("{0}: an encrypted payload is base64 text")]
    NotText(String),
    /// The payload is longer than configured.
    #[error("Payload size {size} exceeds max size {limit}")]
    TooLong {
        /// Bytes of base64.
        size: usize,
        /// `max_payload_size`.
        limit: usize,
    },
    /// The payload cannot be encrypted.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The certificate package cannot be made.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The agent's payload key is no RSA key.
    #[error("the agent's public key cannot be used to encrypt the key share")]
    AgentKey,
}

/// What is going to be delivered; without a payload, nothing but the attestation is set up.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The key and its shares, if anything is delivered.
    pub key: Option<PayloadKey>,
    /// The encrypted payload, base64.
    pub ciphertext: Option<String>,
    /// Private key in PEM with which the verifier signs revocations; empty without `--cert`.
    pub revocation_key: String,
    /// What an authority needs to revoke the agent's certificate.
    pub metadata: Option<Metadata>,
}

/// Identifies an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its serial number.
    pub serial: u64,
    /// Its subject in the notation of RFC 4514.
    pub subject: String,
}

impl Payload {
    /// The metadata as the JSON object the verifier stores.
    #[must_use]
    pub fn metadata_json(&self) -> Value {
        match &self.metadata {
            Some(metadata) => json!({"cert_serial": metadata.serial, "subject": metadata.subject}),
            None => json!({}),
        }
    }

    /// The body that delivers the tenant's share to an agent with this payload key.
    ///
    /// # Errors
    /// [`PayloadError::AgentKey`].
    pub fn share_body(&self, key: &PayloadKey, auth_tag: &str, agent_key_pem: &str) -> Result<Value, PayloadError> {
        let encrypted = encrypt_share(key.u(), agent_key_pem).ok_or(PayloadError::AgentKey)?;
        let mut body = json!({"encrypted_key": STANDARD.encode(encrypted), "auth_tag": auth_tag});
        if let (Some(ciphertext), Some(members)) = (&self.ciphertext, body.as_object_mut()) {
            members.insert("payload".to_owned(), Value::from(ciphertext.as_str()));
        }
        Ok(body)
    }
}

/// Prepares what the options ask for.
///
/// # Errors
/// See [`PayloadError`].
pub fn prepare(options: &Options, agent_id: &str, max_payload_size: usize) -> Result<Payload, PayloadError> {
    let sources = ["keyfile", "file", "ca_dir"].map(|name| options.value(name));
    let given = sources.iter().filter(|source| source.is_some()).count();
    if options.derivation_check() == DerivationCheck::Await && given == 0 {
        return Err(PayloadError::Options(
            "--verify only works when a payload is provided to the agent via -k, -f, or --cert",
        ));
    }
    if given > 1 {
        return Err(PayloadError::Options(
            "You must specify one of -k, -f, or --cert to specify the key/contents to be securely delivered to the \
             agent",
        ));
    }
    if options.value("incl_dir").is_some() && options.value("ca_dir").is_none() {
        return Err(PayloadError::Options("--include option is only valid when used with --cert"));
    }
    let payload = match sources {
        [Some(key_file), _, _] => from_key_file(key_file, options.value("payload"))?,
        [_, Some(file), _] => sealed(&read(Path::new(file))?)?,
        [_, _, Some(directory)] => {
            let package = certificate_package::build(directory, agent_id, options.value("incl_dir").map(Path::new))?;
            let CertificatePackage { zip, serial, subject, revocation_key } = package;
            Payload { revocation_key, metadata: Some(Metadata { serial, subject }), ..sealed(&zip)? }
        }
        [None, None, None] => Payload::default(),
    };
    match payload.ciphertext.as_ref().map(String::len) {
        Some(size) if size > max_payload_size => Err(PayloadError::TooLong { size, limit: max_payload_size }),
        _ => Ok(payload),
    }
}

/// A new random payload key.
///
/// # Errors
/// [`CipherError::Entropy`].
pub fn random_key() -> Result<PayloadKey, CipherError> {
    let (mut k, mut v) = ([0; KEY_BYTES], [0; KEY_BYTES]);
    for random in [&mut k, &mut v] {
        aws_lc_rs::rand::fill(random).map_err(|_| CipherError::Entropy)?;
    }
    Ok(PayloadKey::split(k, v))
}

/// Reads a file of at most 256 MiB.
///
/// # Errors
/// [`PayloadError::Io`].
pub fn read(path: &Path) -> Result<Vec<u8>, PayloadError> {
    let failed = |source| PayloadError::Io { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(content)
}

/// A plaintext under a new key.
fn sealed(plaintext: &[u8]) -> Result<Payload, PayloadError> {
    let key = random_key()?;
    let ciphertext = payload_cipher::seal(key.k(), plaintext)?;
    Ok(Payload { key: Some(key), ciphertext: Some(ciphertext), ..Payload::default() })
}

/// The key and shares of a key file, in the order K, U, V, with a payload encrypted before.
fn from_key_file(path: &str, payload: Option<&str>) -> Result<Payload, PayloadError> {
    let not_a_key = || PayloadError::KeyFile(path.to_owned());
    let text = String::from_utf8(read(Path::new(path))?).map_err(|_| not_a_key())?;
    let mut lines = text.lines().map(|line| STANDARD.decode(line.trim()));
    let mut next = || lines.next().and_then(Result::ok).ok_or_else(not_a_key);
    let key = PayloadKey::from_parts(next()?, next()?, next()?)?;
    let ciphertext = match payload {
        None => None,
        Some(path) => {
            let content = read(Path::new(path))?;
            Some(String::from_utf8(content).map_err(|_| PayloadError::NotText(path.to_owned()))?)
        }
    };
    Ok(Payload { key: Some(key), ciphertext, ..Payload::default() })
}

fn encrypt_share(share: &[u8], agent_key_pem: &str) -> Option<Vec<u8>> {
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(agent_key_pem.as_bytes()).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).ok()?).ok()?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA1_MGF1SHA1, share, &mut encrypted, None).ok()?.len();
    encrypted.truncate(length);
    Some(encrypted)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::parse(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>(), 80).unwrap()
    }

    fn refusal(arguments: &[&str]) -> String {
        prepare(&options(arguments), "id", 1000).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_sealed_under_a_key_only_both_shares_give() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "hello").unwrap();
        let payload = prepare(&options(&["-f", file.to_str().unwrap(), "--verify"]), "id", 1000).unwrap();
        let key = payload.key.as_ref().unwrap();
        let k: Vec<u8> = key.u().iter().zip(key.v()).map(|(u, v)| u ^ v).collect();
        assert_eq!(payload_cipher::open(&k, payload.ciphertext.unwrap().as_bytes()).unwrap(), b"hello");
        assert_eq!(payload.revocation_key, "");
        assert!(refusal(&["-f", "/nonexistent"]).starts_with("/nonexistent: "));
        assert_eq!(
            prepare(&options(&["-f", file.to_str().unwrap()]), "id", 10).unwrap_err().to_string(),
            "Payload size 52 exceeds max size 10"
        );
    }

    #[test]
    fn key_files_of_the_encrypt_tool_are_read_with_their_payload() {
        let directory = tempfile::tempdir().unwrap();
        let (keys, content) = (directory.path().join("keys"), directory.path().join("payload"));
        // wire/payload.json: the tool writes K, V, U.
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=\n\
                    ZGRkZGxsbGxkZGRkfHx8fGRkZGRsbGxsZGRkZJycnJw=\n";
        std::fs::write(&keys, text).unwrap();
        std::fs::write(&content, "Y2lwaGVy").unwrap();
        let arguments = ["-k", keys.to_str().unwrap(), "-p", content.to_str().unwrap()];
        let payload = prepare(&options(&arguments), "id", 1000).unwrap();
        assert_eq!(payload.ciphertext.as_deref(), Some("Y2lwaGVy"));
        assert_eq!(payload.key.unwrap().k()[..4], [0, 1, 2, 3]);
        std::fs::write(&keys, "AAEC\n").unwrap();
        assert!(refusal(&["-k", keys.to_str().unwrap()]).ends_with("three lines of base64 are needed"));
    }

    #[test]
    fn contradicting_sources_are_refused() {
        assert!(refusal(&["--verify"]).starts_with("--verify only works when a payload is provided"));
        assert!(refusal(&["-f", "a", "-k", "b"]).starts_with("You must specify one of -k, -f, or --cert"));
        assert_eq!(refusal(&["--include", "x"]), "--include option is only valid when used with --cert");
        let nothing = prepare(&options(&[]), "id", 0).unwrap();
        assert!(nothing.key.is_none() && nothing.ciphertext.is_none());
        assert_eq!(nothing.metadata_json().to_string(), "{}");
    }

    #[test]
    fn only_the_agents_key_opens_the_share() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(public.as_ref()));
        let payload = Payload { ciphertext: Some("Yw==".into()), ..Payload::default() };
        let key = random_key().unwrap();
        let body = payload.share_body(&key, "tag", &pem).unwrap();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["encrypted_key", "auth_tag", "payload"]);
        let encrypted = STANDARD.decode(body["encrypted_key"].as_str().unwrap()).unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let mut share = vec![0; private.min_output_size()];
        let share = private.decrypt(&OAEP_SHA1_MGF1SHA1, &encrypted, &mut share, None).unwrap();
        assert_eq!(share, key.u());
        assert!(matches!(payload.share_body(&key, "tag", "no key"), Err(PayloadError::AgentKey)));
    }
}
