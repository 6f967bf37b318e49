//! Attestations of push agents (`verifier-v3-push.md` §4–§6). The routes exist where agents may come by themselves: in the
//! modes push and both.

use super::VerifierState;
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::ports::StoreError;
use keylime_actors::verifier::{PushError, Selector};
use keylime_engine::evidence::attestation::Attestation;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::Refusal;
use keylime_schema::wire::v3::MEDIA_TYPE;
use keylime_schema::wire::v3::attestation::{AttestationAttributes, View};
use keylime_schema::wire::v3::attestation_refusal::{self, no_attestation, not_enrolled};
use keylime_schema::wire::v3::attestation_request::{evidence_of, read_offer};
use keylime_schema::wire::v3::error_object::{ErrorObject, http_status};
use keylime_schema::wire::v3::json_api::{self, Document, RequestResource, Resource};
use serde::Serialize;
use std::sync::Arc;

/// Type of the resource.
const KIND: &str = "attestation";
/// Seconds after which a client may try a database again that is away.
const DATABASE_RETRY_SECONDS: u32 = 5;

/// The routes of this resource.
#[must_use]
pub fn attestation_routes() -> Vec<Route<VerifierState>> {
    const COLLECTION: &str = "/v3*/agents/:agent_id/attestations";
    const LATEST: &str = "/v3*/agents/:agent_id/attestations/latest";
    const ONE: &str = "/v3*/agents/:agent_id/attestations/:index";
    vec![
        Route::new(Method::POST, COLLECTION, create).with_small_body(),
        Route::new(Method::GET, COLLECTION, list),
        Route::new(Method::GET, LATEST, show),
        Route::new(Method::PATCH, LATEST, update),
        Route::new(Method::GET, ONE, show),
        Route::new(Method::PATCH, ONE, update),
    ]
}

async fn create(state: Arc<VerifierState>, mut call: Call, _: Permit<permitted::SubmitAttestation>) -> Reply {
    let (agent_id, resource) = match admitted(&mut call) {
        Ok(admitted) => admitted,
        Err(reply) => return reply,
    };
    let Some(resource) = resource.filter(|resource| resource.kind == KIND) else {
        return refused(&call, &Refusal::NoEvidence);
    };
    match state.backend.open_attestation(&agent_id, read_offer(&resource.attributes)).await {
        Ok(attestation) => {
            let location = format!("{}/{}", collection(&call), attestation.index);
            let document = Document::one(attestation_resource(&attestation, View::Requested, location.clone(), None));
            document_reply(StatusCode::CREATED, &document, call.path()).at(location)
        }
        Err(error) => failed(&call, &error),
    }
}

async fn update(state: Arc<VerifierState>, mut call: Call, _: Permit<permitted::SubmitAttestation>) -> Reply {
    let (agent_id, resource) = match admitted(&mut call) {
        Ok(admitted) => admitted,
        Err(reply) => return reply,
    };
    let evidence =
        resource.filter(|resource| resource.kind == KIND).map(|resource| evidence_of(&resource.attributes).cloned());
    match state.backend.submit_evidence(&agent_id, index(&call), evidence).await {
        Ok(accepted) => {
            let attestation = &accepted.attestation;
            let location = format!("{}/{}", collection(&call), attestation.index);
            let resource = attestation_resource(attestation, View::Acknowledged, location.clone(), None);
            let document = Document::one(resource).with_meta("seconds_to_next_attestation", accepted.seconds_to_next);
            document_reply(StatusCode::ACCEPTED, &document, call.path()).at(location)
        }
        Err(error) => failed(&call, &error),
    }
}

async fn list(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ListAttestations>) -> Reply {
    let Ok(agent_id) = AgentId::parse(call.parameter("agent_id")) else { return unknown_agent(&call) };
    match state.backend.attestations(&agent_id).await {
        Ok(Some(attestations)) => {
            let resources = attestations.iter().map(|attestation| {
                let location = format!("{}/{}", collection(&call), attestation.index);
                attestation_resource(attestation, View::Full, location, Some(attestation.index.to_string()))
            });
            document_reply(StatusCode::OK, &Document::many(resources.collect()), call.path())
        }
        Ok(None) => unknown_agent(&call),
        Err(error) => store_failed(&call, &error),
    }
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadAttestation>) -> Reply {
    let Ok(agent_id) = AgentId::parse(call.parameter("agent_id")) else { return unknown_agent(&call) };
    let selector = match index(&call).map(str::parse) {
        None => Selector::Latest,
        Some(Ok(selector)) => selector,
        Some(Err(_)) => return missing(&call),
    };
    match state.backend.attestation(&agent_id, selector).await {
        Ok(Some(Some(attestation))) => {
            let location = format!("{}/{}", collection(&call), attestation.index);
            let id = Some(attestation.index.to_string());
            let resource = attestation_resource(&attestation, View::Full, location, id);
            document_reply(StatusCode::OK, &Document::one(resource), call.path())
        }
        Ok(Some(None)) => missing(&call),
        Ok(None) => unknown_agent(&call),
        Err(error) => store_failed(&call, &error),
    }
}

/// The agent and the resource of a request that has a body.
fn admitted(call: &mut Call) -> Result<(AgentId, Option<RequestResource>), Reply> {
    if !call.content_type().is_some_and(|kind| kind.starts_with(MEDIA_TYPE)) {
        return Err(Reply::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let agent_id = AgentId::parse(call.parameter("agent_id")).map_err(|_| unknown_agent(call))?;
    let read = match call.take_json() {
        Some(document) => json_api::read(document),
        None => json_api::parse(call.body()),
    };
    match read {
        Ok(resource) => Ok((agent_id, resource)),
        Err(error) => {
            tracing::info!(target: "keylime.web", %agent_id, %error, "malformed request");
            Err(Reply::empty(StatusCode::BAD_REQUEST).with_reason("Malformed Request Parameter"))
        }
    }
}

/// The index in the path; `None` on the routes of the latest attestation.
fn index(call: &Call) -> Option<&str> {
    Some(call.parameter("index")).filter(|index| !index.is_empty())
}

/// Path of the agent's attestations, in the version of the request.
fn collection(call: &Call) -> String {
    let path = call.path().trim_end_matches('/');
    let end = path.rfind("/attestations").map_or(path.len(), |at| at + "/attestations".len());
    path[..end].to_owned()
}

fn attestation_resource(
    attestation: &Attestation,
    view: View,
    location: String,
    id: Option<String>,
) -> Resource<AttestationAttributes<'_>> {
    Resource { kind: KIND, id, attributes: AttestationAttributes::new(attestation, view), self_link: Some(location) }
}

fn document_reply<A: Serialize>(status: StatusCode, document: &Document<A>, path: &str) -> Reply {
    match document.render(path) {
        Ok(text) => Reply::document(status, text),
        Err(error) => {
            tracing::error!(target: "keylime.web", %error, "cannot write an answer as json");
            Reply::empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn errors(call: &Call, errors: Vec<ErrorObject>) -> Reply {
    let status = StatusCode::from_u16(http_status(&errors)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    document_reply(status, &Document::errors(errors), call.path())
}

fn refused(call: &Call, refusal: &Refusal) -> Reply {
    let reply = errors(call, attestation_refusal::errors(refusal, call.parameter("agent_id"), index(call)));
    match attestation_refusal::retry_after(refusal) {
        Some(seconds) => reply.retry_after(seconds),
        None => reply,
    }
}

fn failed(call: &Call, error: &PushError) -> Reply {
    match error {
        PushError::NotEnrolled => unknown_agent(call),
        PushError::Refused(refusal) => refused(call, refusal),
        PushError::Store(error) => store_failed(call, error),
    }
}

fn store_failed(call: &Call, error: &StoreError) -> Reply {
    tracing::error!(target: "keylime.web", %error, "database request failed");
    match error {
        StoreError::Unavailable(_) => refused(call, &Refusal::Busy { retry_after: DATABASE_RETRY_SECONDS }),
        StoreError::TooLong(_) => Reply::empty(StatusCode::PAYLOAD_TOO_LARGE),
        StoreError::Internal(_) => Reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn unknown_agent(call: &Call) -> Reply {
    errors(call, vec![not_enrolled(call.parameter("agent_id"))])
}

fn missing(call: &Call) -> Reply {
    errors(call, vec![no_attestation(call.parameter("agent_id"), index(call))])
}
