//! Composes a notice and signs it with the key that the agent was enrolled with (`revocation-and-severity.md` §5).
//!
//! Signing happens when the row is written, so that a notice is the same bytes for every notifier and every attempt, and a
//! key that is replaced later does not change what was said before.

use crate::ports::OutboxRow;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair, RsaPssSaltLength};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use keylime_engine::ids::AgentId;
use keylime_schema::wire::revocation_message::{
    RevocationKind, RevocationMessage, SignedRevocation, asctime, context_text,
};
use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

/// What a notice says.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the members of revocation-and-severity.md §5")]
pub struct NoticeContent<'a> {
    pub kind: RevocationKind,
    pub agent_id: &'a AgentId,
    pub ip: Option<&'a str>,
    pub port: Option<i32>,
    pub tpm_policy: &'a str,
    pub meta_data: &'a str,
    /// Local time of the verifier.
    pub event_time: OffsetDateTime,
    pub event_id: &'a str,
    pub severity_label: &'a str,
    pub context: &'a Value,
}

/// Why a notice could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The revocation key is not an RSA private key in PEM.
    #[error("revocation key is not an unencrypted rsa private key in pem: {0}")]
    Key(String),
    /// The library refused to sign.
    #[error("signing failed")]
    Sign,
    /// The message could not be written as JSON.
    #[error("message could not be written: {0}")]
    Json(String),
}

/// Composes rows; remembers prepared keys, because all agents of a tenant usually share one.
#[derive(Default)]
pub struct NoticeWriter {
    keys: Mutex<HashMap<Arc<str>, Arc<RsaKeyPair>>>,
}

impl NoticeWriter {
    /// The outbox row for a notice, waiting for `notifiers`. `revocation_key` is the PEM text of the agent's record; an empty
    /// one gives an empty signature.
    ///
    /// # Errors
    /// See [`SigningError`]. The caller decides whether an unsigned notice is better than none.
    pub fn compose(
        &self,
        id: Uuid,
        notice: &NoticeContent<'_>,
        revocation_key: &str,
        notifiers: &[&str],
    ) -> Result<OutboxRow, SigningError> {
        let json = |error: serde_json::Error| SigningError::Json(error.to_string());
        let message = RevocationMessage {
            kind: notice.kind,
            ip: notice.ip.map(str::to_owned),
            agent_id: notice.agent_id.to_string(),
            port: notice.port,
            tpm_policy: notice.tpm_policy.to_owned(),
            meta_data: notice.meta_data.to_owned(),
            event_time: asctime(notice.event_time),
            event_id: Some(notice.event_id.to_owned()),
            severity_label: Some(notice.severity_label.to_owned()),
            context: Some(context_text(notice.context).map_err(json)?),
        };
        let msg = message.to_signed_text().map_err(json)?;
        let signature = match revocation_key {
            "" => String::new(),
            key => STANDARD.encode(self.sign(key, msg.as_bytes())?),
        };
        Ok(OutboxRow {
            id,
            agent_id: notice.agent_id.clone(),
            kind: notice.kind.text().to_owned(),
            severity_label: notice.severity_label.to_owned(),
            body: SignedRevocation { msg, signature }.to_text().map_err(json)?,
            created_us: i64::try_from(notice.event_time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX),
            pending: notifiers.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn sign(&self, key: &str, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let key = self.key(key)?;
        let mut signature = vec![0; key.public_modulus_len()];
        let scheme = &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };
        key.sign(scheme, &SystemRandom::new(), message, &mut signature).map_err(|_| SigningError::Sign)?;
        Ok(signature)
    }

    fn key(&self, pem: &str) -> Result<Arc<RsaKeyPair>, SigningError> {
        if let Some(key) = self.keys.lock().get(pem) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(read_key(pem)?);
        let mut keys = self.keys.lock();
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(pem.into(), Arc::clone(&key));
        Ok(key)
    }
}

fn read_key(pem: &str) -> Result<RsaKeyPair, SigningError> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| SigningError::Key(error.to_string()))?;
    let read = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(SigningError::Key("another key type".to_owned())),
    };
    read.map_err(|error| SigningError::Key(error.to_string()))
}

/// Prepared keys that are kept; a fleet with more keys prepares them again.
const MAX_KEYS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::json;
    use time::macros::datetime;

    const DATA: &str = include_str!("../../tests/data/revocation.json");

    fn captured() -> Value {
        serde_json::from_str(DATA).unwrap()
    }

    fn notice<'a>(agent_id: &'a AgentId, context: &'a Value) -> NoticeContent<'a> {
        NoticeContent {
            kind: RevocationKind::Revocation,
            agent_id,
            ip: Some("127.0.0.1"),
            port: Some(31896),
            tpm_policy: r#"{"mask": "0x400"}"#,
            meta_data: r#"{"cert_serial": 2, "subject": "OU=53,O=Keylime,L=Lexington,ST=MA,CN=d432fbb3-d2f1-4a97-9ef7-75bd81c00000,C=US"}"#,
            event_time: datetime!(2026-11-23 11:20:40 UTC),
            event_id: "ima.validation.ima-ng.not_in_allowlist",
            severity_label: "emergency",
            context,
        }
    }

    fn verifies(public_key: &[u8], body: &str) -> bool {
        let outer: SignedRevocation = serde_json::from_str(body).unwrap();
        let scheme = &const { RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };
        let signature = STANDARD.decode(outer.signature).unwrap();
        UnparsedPublicKey::new(scheme, public_key).verify(outer.msg.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn says_what_the_reference_says_and_the_signature_verifies_like_its() {
        let captured = captured();
        let key_pem = captured["revocation_key_pem"].as_str().unwrap();
        let agent_id = AgentId::parse("d432fbb3-d2f1-4a97-9ef7-75bd81c00000").unwrap();
        let context = json!({"message": "File not found in allowlist: /usr/bin/evil"});
        let id = Uuid::from_u128(7);
        let row =
            NoticeWriter::default().compose(id, &notice(&agent_id, &context), key_pem, &["amqp", "agent"]).unwrap();

        let theirs: SignedRevocation = serde_json::from_str(captured["body"].as_str().unwrap()).unwrap();
        let ours: SignedRevocation = serde_json::from_str(&row.body).unwrap();
        assert_eq!(ours.msg, theirs.msg);
        assert_eq!(row.pending, ["amqp", "agent"]);
        assert_eq!(row.created_us, 1_795_432_840_000_000);

        use aws_lc_rs::signature::KeyPair as _;
        let key = read_key(key_pem).unwrap();
        assert!(verifies(key.public_key().as_ref(), captured["body"].as_str().unwrap()), "the reference's signature");
        assert!(verifies(key.public_key().as_ref(), &row.body), "our signature");
        assert!(!verifies(key.public_key().as_ref(), &captured["tampered"].to_string()));
    }

    #[test]
    fn no_key_means_an_empty_signature_and_a_bad_key_an_error() {
        let agent_id = AgentId::parse("a").unwrap();
        let writer = NoticeWriter::default();
        let row = writer.compose(Uuid::nil(), &notice(&agent_id, &Value::Null), "", &["amqp"]).unwrap();
        assert!(row.body.ends_with("\"signature\": \"\"}"));
        let refused = writer.compose(Uuid::nil(), &notice(&agent_id, &Value::Null), "none", &["amqp"]);
        assert!(matches!(refused, Err(SigningError::Key(_))));
    }
}
