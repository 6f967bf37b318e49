//! `POST /v2.x/notifications/revocation`.

use actix_web::{HttpResponse, web};

use crate::pull::answer;
use crate::pull::state::AgentState;
use crate::revocation::worker::SignedNotice;

/// Takes a notice; whether it is believed is decided by the worker, and no caller learns it.
pub async fn revocation(body: web::Json<SignedNotice>, state: web::Data<AgentState>) -> HttpResponse {
    match state.revocation_queue.submit(body.into_inner()) {
        Ok(()) => answer::done(),
        Err(error) => {
            tracing::error!(target: "keylime.agent", %error, "dropping a revocation notice");
            answer::internal("Fail to send Revocation message to revocation worker")
        }
    }
}
