//! A runtime policy on its way into the database (`verifier-v2.md` §4.3).

use super::VerifierSettings;
use super::agents_v2::refused;
use crate::routing::Reply;
use crate::signing_keys::SigningKeys;
use actix_web::http::StatusCode;
use keylime_actors::ports::NewRuntimePolicy;
use keylime_engine::policy::dsse;
use keylime_engine::policy::runtime_policy::{self, PolicyError, SignatureRule};
use keylime_schema::wire::python_json::{self, Layout};
use serde_json::Value;
use std::sync::Arc;

/// Longest name of a policy: the width of the column.
const MAX_NAME_BYTES: usize = 255;

/// Checks the form of a policy's name.
pub(super) fn checked_name(name: &str) -> Result<String, Reply> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let rule = "a policy name has 1 to 255 bytes and no control characters";
        return Err(refused(400, rule));
    }
    Ok(name.to_owned())
}

/// A policy as a request brings it.
pub(super) struct Upload {
    /// Name to store it under.
    pub name: String,
    /// JSON of a policy or of a DSSE envelope.
    pub text: Vec<u8>,
    /// PEM of the key that must have signed it.
    pub key: Option<Vec<u8>>,
    /// `tpm_policy` stored with it.
    pub tpm_policy: Option<String>,
}

/// Status and text of a refusal.
struct Unacceptable(u16, String);

impl Upload {
    /// The policy that agents without a policy get.
    pub(super) fn of_empty_policy(name: String) -> Self {
        let text = python_json::to_vec(&runtime_policy::empty_policy(), Layout::Compact).unwrap_or_default();
        Self { name, text, key: None, tpm_policy: None }
    }

    /// Checks the policy, off the threads that serve connections: a large one takes some hundred milliseconds.
    pub(super) async fn check(self, settings: &VerifierSettings) -> Result<NewRuntimePolicy, Reply> {
        let rule = match settings.policy_signatures_required {
            true => SignatureRule::Required,
            false => SignatureRule::NotRequired,
        };
        let keys = SigningKeys::new(&settings.signing_keys);
        match tokio::task::spawn_blocking(move || self.check_blocking(rule, &keys)).await {
            Ok(outcome) => outcome.map_err(|Unacceptable(code, text)| refused(code, text)),
            Err(error) => {
                tracing::error!(target: "keylime.verifier", %error, "checking a runtime policy failed");
                Err(Reply::empty(StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    fn check_blocking(self, rule: SignatureRule, keys: &SigningKeys) -> Result<NewRuntimePolicy, Unacceptable> {
        let key = match rule {
            SignatureRule::Required => signer(&self.text, self.key, keys)?,
            SignatureRule::NotRequired => None,
        };
        let verified = runtime_policy::verify_upload(&self.text, key.as_deref(), rule).map_err(|error| {
            if let PolicyError::BadSignature(reason) = &error {
                tracing::warn!(target: "keylime.verifier", %reason, "signature of a runtime policy does not verify");
            }
            Unacceptable(status_of(&error), error.to_string())
        })?;
        if let Some(pem) = key {
            // Kept only now that it has signed an accepted policy; the reference trusts a key before it has proved anything.
            let id = runtime_policy::checksum(&pem);
            if let Err(error) = keys.keep(&id, &pem) {
                tracing::error!(target: "keylime.verifier", %error, "key of a signed runtime policy cannot be kept");
            }
        }
        Ok(NewRuntimePolicy {
            name: self.name,
            text: Some(Arc::from(verified.text)),
            checksum: verified.checksum,
            generator: i32::try_from(verified.generator).unwrap_or(0),
            tpm_policy: self.tpm_policy,
        })
    }
}

/// The key to verify an envelope with: the one sent along, or a known one. A policy that is no envelope has none, whatever was
/// sent, and is refused for that (the reference's answer).
fn signer(text: &[u8], sent: Option<Vec<u8>>, keys: &SigningKeys) -> Result<Option<Vec<u8>>, Unacceptable> {
    let Ok(document) = serde_json::from_slice::<Value>(text) else { return Ok(None) };
    if !runtime_policy::is_envelope(&document) {
        return Ok(None);
    }
    if sent.is_some() {
        return Ok(sent);
    }
    keys.find(dsse::key_ids(&document)).map_err(|error| {
        tracing::error!(target: "keylime.verifier", %error, "keys of signed runtime policies cannot be read");
        Unacceptable(500, "Internal Server Error".to_owned())
    })
}

fn status_of(error: &PolicyError) -> u16 {
    match error {
        PolicyError::KeyMissing | PolicyError::BadSignature(_) => 401,
        PolicyError::NotJson | PolicyError::NotSigned | PolicyError::BadRegex { .. } | PolicyError::Malformed(_) => 400,
    }
}
