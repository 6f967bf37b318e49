//! Agents in version 3: the records of `/v2.x/agents` as resources of the type `agent`.
//!
//! Attributes of an answer: the members of `GET /v2.x/agents/{id}`. Attributes of an enrolment: the members of
//! `POST /v2.x/agents/{id}`; those that version 2 wants as null or empty may be left out, as attributes cannot be null.
//! The id of the resource, or an attribute `agent_id`, is the agent's. Changes: `agents_v3_update.rs`.

use super::agents_v2::{View, agent_id, delete_agent, reactivate_agent, status_reply, stop_agent, view_of};
use super::agents_v2_add::enrol;
use super::json_api::{created, errors, invalid_request, not_found, one, path_of, read_resource, translated};
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use keylime_actors::verifier::AgentStatus;
use keylime_engine::ids::AgentId;
use keylime_schema::wire::python_json;
use keylime_schema::wire::v2::agent_status::AgentStatusReply;
use keylime_schema::wire::v3::error_object::ErrorObject;
use keylime_schema::wire::v3::json_api::{Document, Resource};
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;

pub(super) const KIND: &str = "agent";

/// Agents fetched and rendered at one time when all are asked for.
const PAGE: usize = 256;

/// The routes of this resource but its change.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v3*/agents", list),
        Route::new(Method::POST, "/v3*/agents", create),
        Route::new(Method::GET, "/v3*/agents/:agent_id", show),
        Route::new(Method::DELETE, "/v3*/agents/:agent_id", delete).with_small_body(),
        Route::new(Method::PUT, "/v3*/agents/:agent_id/reactivate", reactivate).with_small_body(),
        Route::new(Method::PUT, "/v3*/agents/:agent_id/stop", stop).with_small_body(),
    ]
}

async fn show(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::ReadAgent>) -> Reply {
    let path = call.path().trim_end_matches('/').to_owned();
    shown(&state, &call, call.parameter("agent_id"), view_of(permit.identity()), |resource| {
        one(&call, StatusCode::OK, Resource { self_link: Some(path), ..resource })
    })
    .await
}

/// Answers with the present state of an agent.
pub(super) async fn shown(
    state: &VerifierState,
    call: &Call,
    id: &str,
    view: View,
    answer: impl FnOnce(Resource<AgentStatusReply>) -> Reply,
) -> Reply {
    let Ok(id) = AgentId::parse(id) else { return unknown(call, id) };
    match state.backend.status(&id).await {
        Ok(Some(status)) => answer(resource(state, status, view)),
        Ok(None) => unknown(call, id.as_str()),
        Err(error) => translated(call, store_failure(VERIFIER, &error)),
    }
}

fn resource(state: &VerifierState, status: AgentStatus, view: View) -> Resource<AgentStatusReply> {
    let id = Some(status.agent_id.clone());
    Resource { kind: KIND, id, attributes: status_reply(status, &state.settings, view), self_link: None }
}

pub(super) fn unknown(call: &Call, id: &str) -> Reply {
    not_found(call, format!("No enrolled agent with ID '{id}'."))
}

async fn create(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::CreateAgent>) -> Reply {
    let resource = match read_resource(&call, KIND) {
        Ok(resource) => resource,
        Err(reply) => return reply,
    };
    let attribute = resource.attributes.get("agent_id").and_then(Value::as_str);
    let Ok(id) = AgentId::parse(resource.id.as_deref().or(attribute).unwrap_or_default()) else {
        let pointer = Some("/data/id".to_owned());
        return errors(&call, vec![ErrorObject { pointer, ..invalid_request("The agent needs a valid id.") }]);
    };
    let enrolled = enrol(&state, &id, &completed(resource.attributes)).await;
    if !enrolled.status().is_success() {
        return translated(&call, enrolled);
    }
    let path = path_of(&call, id.as_str());
    shown(&state, &call, id.as_str(), view_of(permit.identity()), |resource| {
        created(&call, Resource { self_link: Some(path), ..resource })
    })
    .await
}

/// The members of an enrolment in version 2, with those that are left out as empty as version 2 has them.
fn completed(attributes: Map<String, Value>) -> Value {
    let Value::Object(mut members) = json!({
        "v": null,
        "cloudagent_ip": null,
        "cloudagent_port": null,
        "runtime_policy": "",
        "runtime_policy_name": "",
        "runtime_policy_key": "",
        "mb_policy": null,
        "mb_policy_name": "",
        "ima_sign_verification_keys": "",
        "metadata": "{}",
        "revocation_key": "",
        "mtls_cert": null,
    }) else {
        return Value::Null;
    };
    members.extend(attributes);
    Value::Object(members)
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteAgent>) -> Reply {
    let outcome = match agent_id(&call) {
        Ok(id) => delete_agent(&state, &id).await,
        Err(reply) => reply,
    };
    match outcome.status() {
        StatusCode::OK => Reply::no_content(),
        // It is being deleted.
        StatusCode::ACCEPTED => Reply::empty(StatusCode::ACCEPTED),
        _ => translated(&call, outcome),
    }
}

async fn reactivate(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReactivateAgent>) -> Reply {
    let outcome = match agent_id(&call) {
        Ok(id) => reactivate_agent(&state, &id).await,
        Err(reply) => reply,
    };
    commanded(&call, outcome)
}

async fn stop(state: Arc<VerifierState>, call: Call, _: Permit<permitted::StopAgent>) -> Reply {
    let outcome = match agent_id(&call) {
        Ok(id) => stop_agent(&state, &id).await,
        Err(reply) => reply,
    };
    commanded(&call, outcome)
}

fn commanded(call: &Call, outcome: Reply) -> Reply {
    match outcome.status() {
        StatusCode::OK => Reply::no_content(),
        // Version 2 answers 400 with the text of an exception.
        StatusCode::BAD_REQUEST => unknown(call, call.parameter("agent_id")),
        _ => translated(call, outcome),
    }
}

/// All agents, produced page by page, so that no fleet is too large for it.
async fn list(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::ListAgents>) -> Reply {
    let verifier = call.query().get("verifier").map(str::to_owned);
    // The first page is fetched before the status line is sent, so that a database that is away is still a clean error.
    let first = match state.backend.statuses(verifier.as_deref(), None, PAGE).await {
        Ok(page) => page,
        Err(error) => return translated(&call, store_failure(VERIFIER, &error)),
    };
    let listing = Listing { state, verifier, view: view_of(permit.identity()), path: call.path().to_owned() };
    let pages = stream::unfold((listing, Progress::First(first)), |(listing, progress)| async move {
        let (piece, progress) = listing.next_piece(progress).await?;
        Some((piece, (listing, progress)))
    });
    Reply::stream(pages.boxed_local())
}

struct Listing {
    state: Arc<VerifierState>,
    verifier: Option<String>,
    view: View,
    path: String,
}

enum Progress {
    First(Vec<AgentStatus>),
    After(String),
    Ended,
}

impl Listing {
    async fn next_piece(&self, progress: Progress) -> Option<(io::Result<Bytes>, Progress)> {
        let (page, is_first) = match progress {
            Progress::Ended => return None,
            Progress::First(page) => (page, true),
            Progress::After(last) => {
                match self.state.backend.statuses(self.verifier.as_deref(), Some(&last), PAGE).await {
                    Ok(page) => (page, false),
                    Err(error) => return Some((Err(io::Error::other(error.to_string())), Progress::Ended)),
                }
            }
        };
        let next = page.last().map_or(Progress::Ended, |status| Progress::After(status.agent_id.clone()));
        Some((self.render(page, is_first).map(Bytes::from), next))
    }

    /// A piece of the document: the frame of an empty list, opened by the first page and closed by the empty one.
    fn render(&self, page: Vec<AgentStatus>, is_first: bool) -> io::Result<Vec<u8>> {
        let frame = Document::<()>::many(Vec::new()).render(&self.path)?;
        let middle = frame.windows(2).position(|pair| pair == b"[]").map_or(0, |at| at + 1);
        let (opening, closing) = frame.split_at(middle);
        let mut piece = if is_first { opening.to_vec() } else { Vec::new() };
        let is_last = page.is_empty();
        for (at, status) in page.into_iter().enumerate() {
            if at > 0 || !is_first {
                piece.extend_from_slice(b", ");
            }
            let self_link = Some(format!("{}/{}", self.path.trim_end_matches('/'), status.agent_id));
            let resource = Resource { self_link, ..resource(&self.state, status, self.view) };
            piece.extend(python_json::to_vec(&resource, VERIFIER)?);
        }
        if is_last {
            piece.extend_from_slice(closing);
        }
        Ok(piece)
    }
}
