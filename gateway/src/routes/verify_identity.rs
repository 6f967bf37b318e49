//! Checks a quote against the key of an enrolled agent, for anybody (`verifier-v2.md` §6.1).

use super::agents_v2::refused;
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_engine::appraise::{OneShotQuote, appraise_identity};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::tpm::failure::QuoteFailure;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json;
use keylime_schema::wire::v2::identity::IdentityReply;
use std::sync::Arc;

/// The route of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![Route::new(Method::GET, "/v2*/verify/identity", verify).with_small_body()]
}

async fn verify(state: Arc<VerifierState>, call: Call, _: Permit<permitted::VerifyIdentity>) -> Reply {
    let [agent_id, quote, nonce, hash_alg] = match parameters(&call) {
        Ok(parameters) => parameters,
        Err(missing) => return refused(400, format!("missing query parameter '{missing}'")),
    };
    let agent = match state.backend.store().agent(agent_id).await {
        Ok(Some(agent)) => agent,
        Ok(None) => return refused(404, "agent id not found"),
        Err(error) => return store_failure(VERIFIER, &error),
    };
    let reply = match identify(&agent.ak_tpm, quote, nonce, hash_alg) {
        Ok(()) => IdentityReply { valid: 1, reason: None },
        Err(failure) => {
            let reason = python_json::to_string(&failure.context(), VERIFIER).unwrap_or_default();
            IdentityReply { valid: 0, reason: Some(reason) }
        }
    };
    Reply::envelope(VERIFIER, &Envelope::success(reply))
}

/// The parameters, or the name of the first that is missing.
fn parameters(call: &Call) -> Result<[&str; 4], &'static str> {
    let of = |name: &'static str| call.query().get(name).ok_or(name);
    Ok([of("agent_uuid")?, of("quote")?, of("nonce")?, of("hash_alg")?])
}

/// A stored key that cannot be read identifies nobody.
fn identify(ak_tpm: &str, quote: &str, nonce: &str, hash_alg: &str) -> Result<(), QuoteFailure> {
    let key = AttestationKey::from_base64(ak_tpm).map_err(|error| QuoteFailure::InvalidQuote(error.to_string()))?;
    appraise_identity(&OneShotQuote { quote, nonce, hash_alg, attestation_key: &key }).map(drop)
}
