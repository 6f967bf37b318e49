//! DSSE envelopes around runtime policies (`runtime-policy.md` §5; the DSSE protocol 1.0).

use crate::algorithm::HashAlgorithm;
use crate::ima::file_signature::SignatureHash;
use crate::ima::key_reading::{self, KeyReadError};
use crate::ima::verification_key::VerificationKey;
use crate::policy::python_base64;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The payload type of runtime policies.
pub const PAYLOAD_TYPE: &str = "application/vnd.keylime+json";

/// Why an envelope cannot be opened or verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// A member is missing or is no text.
    #[error("the envelope has no text {0:?}")]
    Member(&'static str),
    /// A text is neither hexadecimal nor base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// The key is not an elliptic-curve public key in PEM.
    #[error("the key is no elliptic-curve public key in PEM: {0}")]
    Key(String),
    /// The envelope has more signatures than any honest one.
    #[error("the envelope has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// No signature verifies.
    #[error("no signature of the envelope verifies")]
    Unverified,
}

/// Most signatures looked at.
pub const MAX_SIGNATURES: usize = 100;

/// Decodes an envelope's texts as Keylime does: hexadecimal when the text is that, else base64, else URL-safe base64.
///
/// # Errors
/// [`DsseError::Base64`] naming `field`.
pub fn decode_text(text: &str, field: &'static str) -> Result<Vec<u8>, DsseError> {
    if !text.is_empty()
        && let Ok(bytes) = hex::decode(text)
    {
        return Ok(bytes);
    }
    python_base64::strict(text)
        .or_else(|| python_base64::strict(&text.replace('-', "+").replace('_', "/")))
        .ok_or(DsseError::Base64(field))
}

/// The bytes a signature covers. The length of the type counts characters, as in Keylime.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.chars().count(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The envelope's payload, not verified.
///
/// # Errors
/// See [`DsseError`].
pub fn payload(envelope: &Value) -> Result<Vec<u8>, DsseError> {
    decode_text(text_member(envelope, "payload")?, "payload")
}

/// The envelope's payload, when at least one signature verifies with the key (PEM).
///
/// A signature's key id is not compared, and other signatures may be junk, as in Keylime; its text must be decodable.
///
/// # Errors
/// See [`DsseError`].
pub fn verified_payload(envelope: &Value, key_pem: &[u8]) -> Result<Vec<u8>, DsseError> {
    let key = elliptic_key(key_reading::read_public_pem(key_pem))?;
    verify(envelope, &[key])
}

/// The envelope's payload, when at least one signature verifies with a certificate it brings as key id.
///
/// Such an envelope vouches for itself: this proves integrity, not origin.
///
/// # Errors
/// See [`DsseError`].
pub fn self_certified_payload(envelope: &Value) -> Result<Vec<u8>, DsseError> {
    let keys = signatures(envelope)?
        .iter()
        .map(|signature| {
            let pem = decode_text(text_member(signature, "keyid")?, "keyid")?;
            elliptic_key(key_reading::read_certificate_pem(&pem))
        })
        .collect::<Result<Vec<_>, _>>()?;
    verify(envelope, &keys)
}

/// Key ids of the signatures that have one.
pub fn key_ids(envelope: &Value) -> impl Iterator<Item = &str> {
    let signatures = envelope.get("signatures").and_then(Value::as_array).into_iter().flatten();
    signatures.take(MAX_SIGNATURES).filter_map(|signature| signature.get("keyid")?.as_str())
}

/// Key id of an elliptic-curve key: SHA-256 of its PEM form.
#[must_use]
pub fn key_id(key: &VerificationKey) -> String {
    let encoded = STANDARD.encode(key.spki());
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    HashAlgorithm::Sha256.digest(&[pem.as_bytes()]).to_hex()
}

/// An envelope from its parts; `signature` is a DER ECDSA signature over [`pre_authentication_encoding`].
#[must_use]
pub fn envelope(payload_type: &str, payload: &[u8], signature: &[u8], key_id: &str) -> Value {
    let signature = STANDARD.encode(signature);
    let signature =
        if key_id.is_empty() { json!({ "sig": signature }) } else { json!({ "keyid": key_id, "sig": signature }) };
    json!({ "payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": [signature] })
}

fn verify(envelope: &Value, keys: &[VerificationKey]) -> Result<Vec<u8>, DsseError> {
    let payload = payload(envelope)?;
    let covered = pre_authentication_encoding(text_member(envelope, "payloadType")?, &payload);
    let digest = HashAlgorithm::Sha256.digest(&[&covered]);
    for signature in signatures(envelope)? {
        let bytes = decode_text(text_member(signature, "sig")?, "sig")?;
        if keys.iter().any(|key| key.verifies(SignatureHash::Sha256, digest.as_bytes(), &bytes)) {
            return Ok(payload);
        }
    }
    Err(DsseError::Unverified)
}

fn signatures(envelope: &Value) -> Result<&[Value], DsseError> {
    let signatures = envelope.get("signatures").and_then(Value::as_array).ok_or(DsseError::Member("signatures"))?;
    if signatures.len() > MAX_SIGNATURES {
        return Err(DsseError::TooManySignatures);
    }
    Ok(signatures)
}

fn elliptic_key(read: Result<VerificationKey, KeyReadError>) -> Result<VerificationKey, DsseError> {
    let key = read.map_err(|e| DsseError::Key(e.to_string()))?;
    if key.is_elliptic() { Ok(key) } else { Err(DsseError::Key("an RSA key".to_owned())) }
}

fn text_member<'v>(value: &'v Value, name: &'static str) -> Result<&'v str, DsseError> {
    value.get(name).and_then(Value::as_str).ok_or(DsseError::Member(name))
}
