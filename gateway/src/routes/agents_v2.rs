//! Enrolled agents: state, lists, deletion, stop and reactivation (`verifier-v2.md` §3.2–§3.5).

use super::store_reply::{busy, store_failure};
use super::{VERIFIER, VerifierSettings, VerifierState};
use crate::authorization::{Identity, Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use keylime_actors::verifier::{AgentStatus, CommandError, Deletion};
use keylime_engine::ids::AgentId;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json;
use keylime_schema::wire::v2::agent_status::{AgentIdList, AgentStatusReply};
use std::io;
use std::sync::Arc;

/// Agents fetched and rendered at one time when all are asked for.
const PAGE: usize = 256;

/// Intervals without a quote after which an agent counts as late.
const LATE_AFTER_INTERVALS: f64 = 5.0;

/// The routes of this resource but the enrolment.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v2*/agents", list),
        Route::new(Method::GET, "/v2*/agents/:agent_id", show),
        Route::new(Method::DELETE, "/v2*/agents/:agent_id", delete).with_small_body(),
        Route::new(Method::PUT, "/v2*/agents/:agent_id/reactivate", reactivate).with_small_body(),
        Route::new(Method::PUT, "/v2*/agents/:agent_id/stop", stop).with_small_body(),
    ]
}

/// The agent id of the path; the query never replaces it (`authorization.md` §7).
pub(super) fn agent_id(call: &Call) -> Result<AgentId, Reply> {
    AgentId::parse(call.parameter("agent_id")).map_err(|_| refused(400, "agent_id not not valid"))
}

pub(super) fn success() -> Reply {
    Reply::envelope(VERIFIER, &Envelope::empty(200, "Success"))
}

pub(super) fn refused(code: u16, status: impl Into<String>) -> Reply {
    Reply::envelope(VERIFIER, &Envelope::empty(code, status))
}

async fn show(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::ReadAgent>) -> Reply {
    let agent_id = match agent_id(&call) {
        Ok(agent_id) => agent_id,
        Err(reply) => return reply,
    };
    match state.backend.status(&agent_id).await {
        Ok(Some(status)) => {
            let view = view_of(permit.identity());
            Reply::envelope(VERIFIER, &Envelope::success(status_reply(status, &state.settings, view)))
        }
        Ok(None) => refused(404, "agent id not found"),
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn list(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::ListAgents>) -> Reply {
    let verifier = call.query().get("verifier").map(str::to_owned);
    if call.query().get("bulk").is_some() {
        return bulk(state, verifier, view_of(permit.identity())).await;
    }
    match state.backend.agent_ids(verifier.as_deref()).await {
        Ok(ids) => {
            let uuids = ids.into_iter().map(|id| [id]).collect();
            Reply::envelope(VERIFIER, &Envelope::success(AgentIdList { uuids }))
        }
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteAgent>) -> Reply {
    match agent_id(&call) {
        Ok(agent_id) => delete_agent(&state, &agent_id).await,
        Err(reply) => reply,
    }
}

pub(super) async fn delete_agent(state: &VerifierState, agent_id: &AgentId) -> Reply {
    match state.backend.delete(agent_id).await {
        Ok(Deletion::Done) => success(),
        Ok(Deletion::Accepted) => refused(202, "Accepted"),
        Err(CommandError::NotFound) => refused(404, "agent id not found"),
        Err(CommandError::OtherVerifier) => refused(404, "agent id associated to this verifier"),
        Err(CommandError::Busy { retry_after_seconds }) => busy(VERIFIER, retry_after_seconds),
        Err(CommandError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

async fn reactivate(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReactivateAgent>) -> Reply {
    match agent_id(&call) {
        Ok(agent_id) => reactivate_agent(&state, &agent_id).await,
        Err(reply) => reply,
    }
}

async fn stop(state: Arc<VerifierState>, call: Call, _: Permit<permitted::StopAgent>) -> Reply {
    match agent_id(&call) {
        Ok(agent_id) => stop_agent(&state, &agent_id).await,
        Err(reply) => reply,
    }
}

pub(super) async fn reactivate_agent(state: &VerifierState, agent_id: &AgentId) -> Reply {
    commanded(state.backend.reactivate(agent_id).await)
}

pub(super) async fn stop_agent(state: &VerifierState, agent_id: &AgentId) -> Reply {
    commanded(state.backend.stop(agent_id).await)
}

fn commanded(outcome: Result<(), CommandError>) -> Reply {
    match outcome {
        Ok(()) => success(),
        Err(CommandError::NotFound | CommandError::OtherVerifier) => {
            refused(400, "Exception error: No row was found when one was required")
        }
        Err(CommandError::Busy { retry_after_seconds }) => busy(VERIFIER, retry_after_seconds),
        Err(CommandError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

/// How much of an agent's state somebody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Everything the wire has.
    Full,
    /// Without the verifier's share of the payload key.
    WithoutKeyShare,
}

pub(super) fn view_of(identity: &Identity) -> View {
    match identity {
        Identity::Admin(_) => View::Full,
        Identity::Agent(_) | Identity::Anonymous => View::WithoutKeyShare,
    }
}

/// All agents' states as one object, produced page by page, so that no fleet is too large for it.
async fn bulk(state: Arc<VerifierState>, verifier: Option<String>, view: View) -> Reply {
    // The first page is fetched before the status line is sent, so that a database that is away is still a clean error.
    let first = match state.backend.statuses(verifier.as_deref(), None, PAGE).await {
        Ok(page) => page,
        Err(error) => return store_failure(VERIFIER, &error),
    };
    let pages = stream::unfold(Progress::First(first), move |progress| {
        let (state, verifier) = (Arc::clone(&state), verifier.clone());
        async move { next_piece(&state, verifier.as_deref(), view, progress).await }
    });
    Reply::stream(pages.boxed_local())
}

/// Where a bulk answer stands.
enum Progress {
    First(Vec<AgentStatus>),
    After(String),
    Ended,
}

async fn next_piece(
    state: &VerifierState,
    verifier: Option<&str>,
    view: View,
    progress: Progress,
) -> Option<(io::Result<Bytes>, Progress)> {
    let (page, opening) = match progress {
        Progress::Ended => return None,
        Progress::First(page) => (page, "{\"code\": 200, \"status\": \"Success\", \"results\": {"),
        Progress::After(last) => match state.backend.statuses(verifier, Some(&last), PAGE).await {
            Ok(page) => (page, ""),
            Err(error) => return Some((Err(io::Error::other(error.to_string())), Progress::Ended)),
        },
    };
    // Only an empty page is the end: one that is short may have lost a row that could not be decoded.
    let complete = page.is_empty();
    let last = page.last().map(|status| status.agent_id.clone());
    let piece = render_page(page, &state.settings, view, opening, complete).map(Bytes::from);
    match (complete, last) {
        (false, Some(last)) => Some((piece, Progress::After(last))),
        (true, _) | (false, None) => Some((piece, Progress::Ended)),
    }
}

fn render_page(
    page: Vec<AgentStatus>,
    settings: &VerifierSettings,
    view: View,
    opening: &str,
    complete: bool,
) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(page.len() * 1024 + 64);
    piece.extend_from_slice(opening.as_bytes());
    let mut first = !opening.is_empty();
    for status in page {
        if !first {
            piece.extend_from_slice(b", ");
        }
        first = false;
        piece.extend(python_json::to_vec(&status.agent_id, VERIFIER)?);
        piece.extend_from_slice(b": ");
        piece.extend(python_json::to_vec(&status_reply(status, settings, view), VERIFIER)?);
    }
    if complete {
        piece.extend_from_slice(b"}}");
    }
    Ok(piece)
}

pub(super) fn status_reply(status: AgentStatus, settings: &VerifierSettings, view: View) -> AgentStatusReply {
    AgentStatusReply {
        operational_state: status.operational_state,
        v: status.v.filter(|_| view == View::Full),
        ip: status.ip,
        port: status.port,
        tpm_policy: status.tpm_policy,
        meta_data: status.meta_data,
        has_mb_refstate: u8::from(status.has_mb_refstate),
        has_runtime_policy: u8::from(status.has_runtime_policy),
        accept_tpm_hash_algs: status.accept_tpm_hash_algs,
        accept_tpm_encryption_algs: status.accept_tpm_encryption_algs,
        accept_tpm_signing_algs: status.accept_tpm_signing_algs,
        hash_alg: status.hash_alg,
        enc_alg: status.enc_alg,
        sign_alg: status.sign_alg,
        verifier_id: status.verifier_id,
        verifier_ip: status.verifier_ip,
        verifier_port: status.verifier_port,
        severity_level: status.severity_level,
        last_event_id: status.last_event_id,
        attestation_count: status.attestation_count,
        last_received_quote: status.last_received_quote,
        last_successful_attestation: status.last_successful_attestation,
        attestation_status: status.attestation_status.text().to_owned(),
        attestation_period: whole_seconds(settings.quote_interval),
        maximum_attestation_interval: whole_seconds(settings.quote_interval * LATE_AFTER_INTERVALS),
    }
}

fn whole_seconds(seconds: f64) -> String {
    format!("{}s", seconds.trunc())
}
