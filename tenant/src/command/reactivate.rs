//! `reactivate`.

use tracing::info;

use super::delete::follow;
use super::status::{MissingAgent, verifier_status};
use crate::cli::VerifierCheck;
use crate::error::TenantError;
use crate::session::Session;

pub(super) async fn reactivate(session: &mut Session) -> Result<(), TenantError> {
    if session.options.verifier_check() == VerifierCheck::Ask
        && let Some(known) = verifier_status(session, MissingAgent::Error).await?
    {
        follow(session, &known);
    }
    let id = session.agent_id.clone();
    let reply = session.verifier.reactivate(&id).await?;
    let name = session.verifier.name();
    let agent = session.agent_name();
    match reply.status {
        200 => {
            info!(target: "keylime.tenant", "Agent {id} re-activated");
            info!(target: "keylime.tenant", "{agent} re-activated");
            Ok(())
        }
        503 => {
            Err(TenantError::refused(format!("Cannot connect to {name} to reactivate {agent}. Connection refused.")))
        }
        504 => Err(TenantError::refused(format!("{name} timed out while reactivating {agent}."))),
        other => {
            Err(TenantError::refused(format!("Reactivate command response: {other} Unexpected response from {name}.")))
        }
    }
}
