//! `cvlist`, `reglist` and `bulkinfo`.

use serde_json::Value;
use tracing::{info, warn};

use super::bulk_listing;
use crate::error::TenantError;
use crate::output::{body_repr, compact, printable};
use crate::session::Session;

/// The ids of the verifier's agents. A verifier that refuses is reported and is no error.
pub(super) async fn verifier(session: &mut Session) -> Result<(), TenantError> {
    let verifier_id = session.options.value("verifier_id").unwrap_or_default().to_owned();
    let reply = session.verifier.list(&verifier_id).await?;
    let address = session.verifier.address().clone();
    let name = session.verifier.name();
    match reply.status {
        200 => {}
        404 => {
            info!(
                target: "keylime.tenant",
                "Verifier at {} with Port {} does not have agents.", address.host, address.port
            );
            return Ok(());
        }
        503 => {
            warn!(target: "keylime.tenant", "Cannot connect to {name}. Connection refused.");
            return Ok(());
        }
        504 => {
            warn!(target: "keylime.tenant", "{name} timed out.");
            return Ok(());
        }
        other => {
            let message = format!("Status command response: {other} Unexpected response from {name}.");
            return Err(TenantError::refused(format!("{message} {}", printable(&reply.status_text()))));
        }
    }
    let results = reply.results().ok_or(TenantError::Malformed { peer: "verifier" })?;
    info!(
        target: "keylime.tenant",
        "From verifier {} port {} retrieved: \"{}\"\n", address.host, address.port, body_repr(&reply)
    );
    info!(target: "keylime.tenant", "Agent list from {name} retrieved: \n{}", compact(&results));
    session.answer.note("agents", flat(&results));
    Ok(())
}

/// The ids of the registrar's agents.
pub(super) async fn registrar(session: &mut Session) -> Result<(), TenantError> {
    let registrar = session.registrar()?;
    let answer = registrar.list().await?;
    let address = registrar.address().clone();
    info!(
        target: "keylime.tenant",
        "From registrar {} port {} retrieved {}\n", address.host, address.port, compact(&answer)
    );
    let results = answer.get("results").cloned().ok_or(TenantError::Malformed { peer: "registrar" })?;
    info!(target: "keylime.tenant", "Agent list from Registrar ({address}) retrieved: \n{}", compact(&results));
    session.answer.note("agents", flat(&results));
    Ok(())
}

/// The ids of a list; the verifier wraps each in a list of its own.
fn flat(results: &Value) -> Value {
    let ids = results.get("uuids").and_then(Value::as_array).into_iter().flatten();
    ids.flat_map(|id| id.as_array().cloned().unwrap_or_else(|| vec![id.clone()])).collect()
}

/// The states of all of the verifier's agents.
pub(super) async fn bulk(session: &mut Session) -> Result<(), TenantError> {
    let verifier_id = session.options.value("verifier_id").unwrap_or_default().to_owned();
    let reply = session.verifier.bulk(&verifier_id).await?;
    let name = session.verifier.name();
    if reply.status != 200 {
        let reply = reply.whole().await?;
        let message = format!("Status command response: {} Unexpected response from {name}.", reply.status);
        return Err(TenantError::refused(format!("{message} {}", printable(&reply.status_text()))));
    }
    let agents = bulk_listing::receive(reply).await?;
    info!(target: "keylime.tenant", "Bulk Agent Info:\n{agents}");
    session.answer.note_text("agents", agents);
    Ok(())
}
