//! `status`, `cvstatus` and `regstatus`.

use keylime_engine::lifecycle::operational_state::OperationalState;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use crate::cli::AttestationModel;
use crate::error::TenantError;
use crate::output::{compact, printable};
use crate::session::Session;

/// Members of a registration in the order they are shown.
const SHOWN_MEMBERS: [&str; 7] = ["aik_tpm", "regcount", "ek_tpm", "ip", "port", "mtls_cert", "ekcert"];

/// Whether an agent the verifier does not know makes a request fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingAgent {
    /// It does.
    Error,
    /// It is the answer.
    Answer,
}

pub(super) async fn status(session: &mut Session) -> Result<(), TenantError> {
    registrar(session).await?;
    verifier(session).await
}

pub(super) async fn verifier(session: &mut Session) -> Result<(), TenantError> {
    verifier_status(session, MissingAgent::Error).await.map(|_| ())
}

/// Asks the verifier about the agent and prints what it says; `None` if it does not know it.
///
/// # Errors
/// The verifier cannot be asked, answers with an error, or does not know an agent it must know.
pub async fn verifier_status(
    session: &mut Session,
    missing: MissingAgent,
) -> Result<Option<Map<String, Value>>, TenantError> {
    let Some(results) = verifier_record(session, missing).await? else { return Ok(None) };
    let mut shown = results.clone();
    match session.options.model() {
        AttestationModel::Push => {
            shown.shift_remove("operational_state");
            if AttestationModel::of_record(&results) == AttestationModel::Pull {
                warn!(target: "keylime.tenant", "{}", AttestationModel::Pull.mismatch(&session.verifier.name()));
            }
        }
        AttestationModel::Pull => name_state(&mut shown),
    }
    let shown = json!({ session.agent_id.clone(): shown });
    info!(target: "keylime.tenant", "Agent Info from {}:\n{}", session.verifier.name(), compact(&shown));
    session.answer.note("verifier", shown);
    Ok(Some(results))
}

/// What the verifier says about the agent; `None` if it does not know it.
///
/// # Errors
/// See [`verifier_status`].
pub(super) async fn verifier_record(
    session: &mut Session,
    missing: MissingAgent,
) -> Result<Option<Map<String, Value>>, TenantError> {
    let id = session.agent_id.clone();
    let reply = session.verifier.status(&id).await?;
    let address = session.verifier.address().clone();
    let verifier = session.verifier.name();
    match reply.status {
        200 => {}
        404 => {
            info!(
                target: "keylime.tenant",
                "Verifier at {} with Port {} does not have agent {id}.", address.host, address.port
            );
            return match missing {
                MissingAgent::Answer => Ok(None),
                MissingAgent::Error => Err(TenantError::refused(format!("Agent {id} does not exist on {verifier}."))),
            };
        }
        503 => {
            let message = format!(
                "Cannot connect to Verifier at {} with Port {}. Connection refused.",
                address.host, address.port
            );
            return Err(TenantError::refused(message));
        }
        504 => {
            let message = format!("Verifier at {} with Port {} timed out.", address.host, address.port);
            return Err(TenantError::refused(message));
        }
        other => {
            let message = format!("Status command response: {other} Unexpected response from {verifier}.");
            return Err(TenantError::refused(format!("{message} {}", printable(&reply.status_text()))));
        }
    }
    let Some(Value::Object(results)) = reply.results() else {
        return Err(TenantError::Malformed { peer: "verifier" });
    };
    Ok(Some(results))
}

/// Replaces the number of a state by its name; a null stays.
pub(super) fn name_state(agent: &mut Map<String, Value>) {
    if let Some(state) = agent.get_mut("operational_state")
        && let Some(named) = state.as_i64().and_then(OperationalState::from_code)
    {
        *state = Value::from(named.text());
    }
}

pub(super) async fn registrar(session: &mut Session) -> Result<(), TenantError> {
    let id = session.agent_id.clone();
    let registrar = session.registrar()?;
    let address = registrar.address().clone();
    let Some(registration) = registrar.registration(&id).await? else {
        let place = format!("registrar {} port {}", address.host, address.port);
        info!(
            target: "keylime.tenant",
            "Agent {id} does not exist on the registrar. Please register the agent with the registrar."
        );
        let answer = json!({"code": 404, "status": format!("Agent {id} does not exist on {place}."), "results": {}});
        info!(target: "keylime.tenant", "{}", compact(&answer));
        return Err(TenantError::refused(format!(
            "Agent {id} does not exist on Registrar ({address}). Check the agent logs to for error messages while \
             attempting to get registered."
        )));
    };
    let status = format!("Agent {id} exists on registrar {} port {}.", address.host, address.port);
    let mut shown = Map::new();
    for member in SHOWN_MEMBERS {
        shown.insert(member.to_owned(), registration.member(member));
    }
    if let Some(keys) = registration.provider_keys() {
        shown.insert("provider_keys".to_owned(), keys.clone());
    }
    shown.insert("operational_state".to_owned(), Value::from(OperationalState::Registered.text()));
    let results = json!({ id: shown });
    info!(target: "keylime.tenant", "Status from Registrar ({address}): {status}");
    let answer = json!({"code": 200, "status": status, "results": results});
    info!(target: "keylime.tenant", "{}", compact(&answer));
    info!(target: "keylime.tenant", "Agent Info from Registrar ({address}):\n{}", compact(&results));
    session.answer.note("registrar", results);
    Ok(())
}
