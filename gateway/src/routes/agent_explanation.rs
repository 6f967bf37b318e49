//! Why an agent failed, for people: an addition of this project to Keylime's interface.

use super::agents_v2::{agent_id, refused};
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::v2::explanation::ExplanationReply;
use std::sync::Arc;

/// The route of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![Route::new(Method::GET, "/v2*/agents/:agent_id/explain", explain).with_small_body()]
}

async fn explain(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ExplainAgent>) -> Reply {
    let agent_id = match agent_id(&call) {
        Ok(agent_id) => agent_id,
        Err(reply) => return reply,
    };
    match state.backend.status(&agent_id).await {
        Ok(Some(status)) => Reply::envelope(
            VERIFIER,
            &Envelope::success(ExplanationReply {
                attestation_status: status.attestation_status.text().to_owned(),
                agent_id: status.agent_id,
                operational_state: status.operational_state,
                last_event_id: status.last_event_id,
                severity_level: status.severity_level,
                failures: status.explanations.into_iter().map(Into::into).collect(),
                details: status.failure_details,
            }),
        ),
        Ok(None) => refused(404, "agent id not found"),
        Err(error) => store_failure(VERIFIER, &error),
    }
}
