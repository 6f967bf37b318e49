//! `delete` and `regdelete`.

use serde_json::{Map, Value};
use tracing::info;

use super::status::{MissingAgent, verifier_status};
use crate::address::Address;
use crate::cli::VerifierCheck;
use crate::enrollment_step::AgentLocation;
use crate::error::TenantError;
use crate::output::printable;
use crate::progress;
use crate::session::Session;

pub(super) async fn delete(session: &mut Session) -> Result<(), TenantError> {
    remove_enrolment(session).await.map(|_| ())
}

pub(super) async fn registration(session: &mut Session) -> Result<(), TenantError> {
    let id = session.agent_id.clone();
    session.registrar()?.delete(&id).await
}

/// Sends everything from here on to the verifier that says it is in charge of the agent.
pub(super) fn follow(session: &mut Session, agent: &Map<String, Value>) {
    let text = |member: &str| match agent.get(member)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let known = session.verifier.address().clone();
    let address = Address::new(text("verifier_ip").unwrap_or(known.host), text("verifier_port").unwrap_or(known.port));
    session.verifier.move_to(address, text("verifier_id"));
}

/// Removes the agent from the verifier and waits until it is gone; says where the verifier knew it to be.
///
/// # Errors
/// The verifier cannot be reached or does not remove it.
pub async fn remove_enrolment(session: &mut Session) -> Result<AgentLocation, TenantError> {
    let mut location = AgentLocation::default();
    let id = session.agent_id.clone();
    if session.options.verifier_check() == VerifierCheck::Ask {
        let Some(known) = verifier_status(session, MissingAgent::Answer).await? else {
            info!(target: "keylime.tenant", "The Agent {id} is deleted from {}", session.verifier.name());
            return Ok(location);
        };
        follow(session, &known);
        location = AgentLocation {
            ip: known.get("ip").and_then(Value::as_str).map(str::to_owned),
            port: known.get("port").cloned(),
        };
    }
    let reply = session.verifier.delete(&id).await?;
    let name = session.verifier.name();
    let code = reply.json().and_then(|body| body.get("code")?.as_u64());
    match code.ok_or(TenantError::Malformed { peer: "verifier" })? {
        200 => info!(target: "keylime.tenant", "Agent {id} deleted from the CV"),
        404 => info!(target: "keylime.tenant", "Agent {id} is already absent from the CV"),
        202 => await_removal(session).await?,
        503 => {
            let message = format!("Cannot connect to {name} to delete Agent {id}. Connection refused.");
            return Err(TenantError::refused(message));
        }
        504 => return Err(TenantError::refused(format!("{name} timed out while deleting Agent {id}."))),
        other => {
            let status = printable(&reply.status_text());
            let message = format!("Unexpected response code {other} from {name} while deleting Agent {id}: {status}");
            return Err(TenantError::refused(message));
        }
    }
    Ok(location)
}

/// Asks the verifier until it no longer knows the agent.
async fn await_removal(session: &mut Session) -> Result<(), TenantError> {
    let agent = session.agent_name();
    let limit = session.settings.retry.max_failures;
    let mut tries = 0;
    loop {
        let id = session.agent_id.clone();
        let reply = session.verifier.status(&id).await?;
        let name = session.verifier.name();
        if reply.status == 404 {
            info!(target: "keylime.tenant", "{agent} was deleted from {name} after {tries} tries");
            info!(target: "keylime.tenant", "{agent} deleted from the CV");
            return Ok(());
        }
        tries += 1;
        let Some(delay) = session.settings.retry.delay_after(tries) else {
            return Err(TenantError::refused(format!("{agent} was not deleted from {name} after {tries} tries")));
        };
        info!(
            target: "keylime.tenant",
            "{agent} still not deleted from {name} at try {tries}/{limit}, trying again in {:.2} seconds...",
            delay.as_secs_f64()
        );
        progress::wait(delay, &format!("waiting until {name} has removed {agent}")).await;
    }
}
