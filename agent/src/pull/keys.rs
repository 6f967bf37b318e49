//! `/v2.x/keys/*`: delivery of the bootstrap key's shares, and the proof that they were joined.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::key_derivation::{AUTH_TAG_BYTES, Derived, InvalidKeySize, SymmetricKey, TenantShare};
use crate::keys::DecryptError;
use crate::pull::answer;
use crate::pull::quotes::is_alphanumeric;
use crate::pull::state::{AgentState, PayloadRule};

/// Body of `POST /keys/ukey`.
#[derive(Deserialize)]
pub struct TenantShareBody {
    auth_tag: String,
    encrypted_key: String,
    payload: Option<String>,
}

/// Body of `POST /keys/vkey`.
#[derive(Deserialize)]
pub struct VerifierShareBody {
    encrypted_key: String,
}

/// Parameters of `GET /keys/verify`.
#[derive(Deserialize)]
pub struct VerifyQuery {
    challenge: String,
}

#[derive(Serialize)]
struct PublicKeyResults<'a> {
    pubkey: &'a str,
}

#[derive(Serialize)]
struct ProofResults {
    hmac: String,
}

#[derive(Debug, thiserror::Error)]
enum InvalidShare {
    #[error("Invalid base64 encoding in encrypted_key: base64 decode error: {0}")]
    Encoding(base64::DecodeError),
    #[error("Failed to decrypt encrypted_key: {0}")]
    Decrypt(#[from] DecryptError),
    #[error("{prefix}: {source}")]
    Size { prefix: &'static str, source: InvalidKeySize },
}

/// The public half of the payload key.
pub async fn public_key(state: web::Data<AgentState>) -> HttpResponse {
    answer::success(PublicKeyResults { pubkey: state.payload_key.public_pem() })
}

/// Takes the tenant's share U.
pub async fn tenant_share(body: web::Json<TenantShareBody>, state: web::Data<AgentState>) -> HttpResponse {
    let body = body.into_inner();
    let share = match read_tenant_share(&state, body) {
        Ok(share) => share,
        Err(text) => return answer::bad_request(text),
    };
    let derived = state.derivation().add_tenant_share(share);
    finish(&state, derived, "Failed to send UKey message to keys worker")
}

/// Takes the verifier's share V.
pub async fn verifier_share(body: web::Json<VerifierShareBody>, state: web::Data<AgentState>) -> HttpResponse {
    let share = match open_share(&state, &body.encrypted_key, "Decrypted key is invalid") {
        Ok(share) => share,
        Err(error) => return answer::bad_request(error.to_string()),
    };
    let derived = state.derivation().add_verifier_share(share);
    finish(&state, derived, "Failed to send VKey message to keys worker")
}

/// Proves that the shares were joined: HMAC-SHA384 of the challenge under K.
pub async fn verify(query: web::Query<VerifyQuery>, state: web::Data<AgentState>) -> HttpResponse {
    let challenge = &query.challenge;
    if challenge.is_empty() {
        return answer::bad_request("No challenge provided.");
    }
    if !is_alphanumeric(challenge) {
        return answer::bad_request(format!("Parameters should be strictly alphanumeric: {challenge}"));
    }
    match state.derivation().key() {
        Some(key) => answer::success(ProofResults { hmac: hex::encode(key.hmac(challenge.as_bytes())) }),
        None => answer::bad_request("Bootstrap key not yet available."),
    }
}

fn read_tenant_share(state: &AgentState, body: TenantShareBody) -> Result<TenantShare, String> {
    let share = open_share(state, &body.encrypted_key, "Invalid decrypted key").map_err(|error| error.to_string())?;
    let tag = hex::decode(&body.auth_tag)
        .map_err(|error| format!("Invalid hex encoding in auth_tag: from hex error: {error}"))?;
    let auth_tag: [u8; AUTH_TAG_BYTES] = tag
        .try_into()
        .map_err(|tag: Vec<u8>| format!("auth tag length {} does not correspond to valid SHA-384 HMAC", tag.len()))?;
    if let Some(payload) = &body.payload {
        STANDARD
            .decode(payload)
            .map_err(|error| format!("Invalid base64 encoding in payload: base64 decode error: {error}"))?;
    }
    Ok(TenantShare { share, auth_tag, payload: body.payload })
}

fn open_share(state: &AgentState, encrypted: &str, prefix: &'static str) -> Result<SymmetricKey, InvalidShare> {
    let ciphertext = STANDARD.decode(encrypted).map_err(InvalidShare::Encoding)?;
    let share = state.payload_key.decrypt(&ciphertext)?;
    SymmetricKey::new(share).map_err(|source| InvalidShare::Size { prefix, source })
}

/// Hands the payload over once both shares are there.
fn finish(state: &AgentState, derived: Option<Derived>, refused: &'static str) -> HttpResponse {
    let Some(derived) = derived else {
        tracing::info!(target: "keylime.agent", "key share stored, its counterpart is not there yet");
        return answer::done();
    };
    tracing::info!(target: "keylime.agent", "bootstrap key joined from both shares");
    if derived.payload.is_none() {
        return answer::done();
    }
    match state.payloads {
        PayloadRule::Drop => {
            tracing::warn!(target: "keylime.agent", "mTLS disabled, payloads cannot be deployed: dropping the payload");
            answer::done()
        }
        PayloadRule::Run => match state.payload_queue.submit(derived) {
            Ok(()) => answer::done(),
            Err(error) => {
                tracing::error!(target: "keylime.agent", %error, "dropping a payload");
                answer::internal(refused)
            }
        },
    }
}
