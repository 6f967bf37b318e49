//! Sessions of push agents (`verifier-v3-push.md` §3). Anybody may ask; the proof decides.

use super::VerifierState;
use super::json_api::not_found;
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::sessions::{OpenRefusal, Opened, Proof, ProofOutcome, ProveRefusal, SessionHandle};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::session::ProofRefusal;
use keylime_schema::wire::errors::ErrorDocument;
use keylime_schema::wire::v2::enrolment::lenient_base64;
use keylime_schema::wire::v3::session::{Evaluation, SessionDocument, SessionFacts, SessionRequest};
use keylime_schema::wire::v3::{MEDIA_TYPE, binary, json_api};
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Longest member of a proof, in characters; a TPM's structures have a few hundred bytes.
const MAX_PROOF_TEXT: usize = 16 * 1024;

/// The routes of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::POST, "/v3*/sessions", open).with_small_body(),
        Route::new(Method::PATCH, "/v3*/sessions/:session_id", prove).with_small_body(),
        // The three forms before 7.14, none of which has ever worked.
        Route::new(Method::POST, "/v3*/agents/:agent_id/session", open_of_old).with_small_body(),
        Route::new(Method::GET, "/v3*/agents/:agent_id/session/:token", of_old).with_small_body(),
        Route::new(Method::PATCH, "/v3*/agents/:agent_id/session/:token", of_old).with_small_body(),
    ]
}

async fn open(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateSession>) -> Reply {
    match try_open(&state.sessions, &call).await {
        Ok(opened) => {
            Reply::plain_json(StatusCode::OK, &SessionDocument::new(opened.id.to_string(), facts(&opened).opened()))
        }
        Err(reply) => reply,
    }
}

async fn try_open(sessions: &SessionHandle, call: &Call) -> Result<Opened, Reply> {
    let attributes = attributes(call)?;
    let request = SessionRequest::new(&attributes);
    let agent = request.agent_id().map(AgentId::parse);
    let address = call.peer().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let known = agent.as_ref().and_then(|agent| agent.as_ref().ok());
    let admitted = sessions.admit_address(address, known).await.map_err(limited)?;
    let agent = match agent {
        None => return Err(refused(StatusCode::BAD_REQUEST, "agent_id is required")),
        Some(Err(error)) => return Err(refused(StatusCode::BAD_REQUEST, &error.to_string())),
        Some(Ok(agent)) => agent,
    };
    sessions.admit_agent(&agent).map_err(limited)?;
    if !request.supports_possession() {
        let detail = "authentication_supported must include tpm_pop authentication type";
        return Err(refused(StatusCode::BAD_REQUEST, detail));
    }
    Ok(sessions.open(agent, admitted))
}

async fn prove(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ExtendSession>) -> Reply {
    try_prove(&state.sessions, &call).await.unwrap_or_else(|reply| reply)
}

async fn try_prove(sessions: &SessionHandle, call: &Call) -> Result<Reply, Reply> {
    let attributes = attributes(call)?;
    let request = SessionRequest::new(&attributes);
    let agent = request.agent_id().ok_or_else(|| refused(StatusCode::BAD_REQUEST, "agent_id is required"))?;
    let proof = request.proof();
    let (message, signature) = (proof_bytes(proof.message)?, proof_bytes(proof.signature)?);
    let judged = sessions.prove(call.parameter("session_id"), agent, &message, &signature).await;
    let Proof { session, received, outcome } = judged.map_err(|refusal| match refusal {
        ProveRefusal::NotFound => refused(StatusCode::NOT_FOUND, "Session not found"),
        ProveRefusal::OtherAgent => refused(StatusCode::BAD_REQUEST, "Agent ID mismatch"),
        ProveRefusal::Busy { retry_after_seconds } => {
            refused(StatusCode::SERVICE_UNAVAILABLE, "Please try again later.").retry_after(retry_after_seconds)
        }
    })?;
    let (status, evaluation) = match outcome {
        ProofOutcome::Pass { token, expires } => (StatusCode::OK, Evaluation::Pass(token.expose().to_owned(), expires)),
        ProofOutcome::Fail(ProofRefusal::Late) => (StatusCode::OK, Evaluation::Late),
        ProofOutcome::Fail(ProofRefusal::NotEnrolled) => (StatusCode::OK, Evaluation::Fail),
        ProofOutcome::Fail(ProofRefusal::Missing | ProofRefusal::Key(_) | ProofRefusal::Proof(_)) => {
            (StatusCode::UNAUTHORIZED, Evaluation::Fail)
        }
    };
    let (message, signature) = (binary::encode(&message), binary::encode(&signature));
    let answered = facts(&session).answered(message, signature, received, evaluation);
    Ok(Reply::plain_json(status, &SessionDocument::new(session.id.to_string(), answered)))
}

/// Reads base64 as the reference does, which skips what is outside of the alphabet; an answer that cannot be decoded
/// leaves the session as it is.
fn proof_bytes(text: &str) -> Result<Vec<u8>, Reply> {
    let bytes = if text.len() > MAX_PROOF_TEXT { None } else { lenient_base64(text) };
    bytes.ok_or_else(|| refused(StatusCode::BAD_REQUEST, "message and signature must be valid base64"))
}

/// The attributes of the request's resource. A body that is not announced as JSON is not looked at.
fn attributes(call: &Call) -> Result<Map<String, Value>, Reply> {
    match call.content_type() {
        Some(MEDIA_TYPE) => {
            let malformed = |error| {
                tracing::info!(target: "keylime.web", %error, "malformed document");
                Reply::empty(StatusCode::BAD_REQUEST).with_reason("Malformed Request Parameter")
            };
            Ok(json_api::parse(call.body()).map_err(malformed)?.map(|resource| resource.attributes).unwrap_or_default())
        }
        Some("application/json") => {
            let attributes = call.json().ok().and_then(|body| body.get("data")?.get("attributes")?.as_object());
            Ok(attributes.cloned().unwrap_or_default())
        }
        Some(_) | None => Ok(Map::new()),
    }
}

fn facts(session: &Opened) -> SessionFacts {
    SessionFacts {
        agent_id: session.agent.as_str().to_owned(),
        challenge: binary::encode(session.challenge.as_bytes()),
        created: session.created,
        challenge_expires: session.challenge_expires,
    }
}

fn limited(refusal: OpenRefusal) -> Reply {
    let (seconds, detail) = match refusal {
        OpenRefusal::Address(seconds) => (seconds, "Rate limit exceeded. Please try again later."),
        OpenRefusal::Agent(seconds) => (seconds, "Rate limit exceeded for this agent. Please try again later."),
    };
    refused(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn refused(status: StatusCode, detail: &str) -> Reply {
    let title = status.canonical_reason().unwrap_or_default();
    Reply::plain_json(status, &ErrorDocument::one(status.as_u16(), title, detail))
}

async fn open_of_old(_: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateSession>) -> Reply {
    not_found(&call, "Sessions are opened with POST /v3/sessions.")
}

async fn of_old(_: Arc<VerifierState>, call: Call, _: Permit<permitted::ExtendSession>) -> Reply {
    not_found(&call, "Sessions are proven with PATCH /v3/sessions/<id>.")
}
