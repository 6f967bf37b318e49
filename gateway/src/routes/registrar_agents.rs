//! The registrar's routes (`registrar.md` §3, §4). Version 3 answers as version 2 does, as the documentation promises.

use super::store_reply::{busy, store_failure};
use super::version::version_list;
use crate::authorization::{Permit, permitted};
use crate::backend::RegistrarBackend;
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::ports::RegistrationRecord;
use keylime_actors::registrar::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json::Layout;
use keylime_schema::wire::registrar::{Challenge, Registration, RegistrationList};
use serde_json::Value;
use std::sync::Arc;

/// The layout of the registrar's answers.
const REGISTRAR: Layout = Layout::Indented;

/// Longest authentication tag that is compared; a genuine one has 96 characters.
const MAX_TAG_CHARACTERS: usize = 256;

/// What the registrar's handlers share.
pub struct RegistrarState {
    /// The registrar system.
    pub backend: Arc<dyn RegistrarBackend>,
}

/// The route table of the registrar.
#[must_use]
pub fn registrar_routes() -> Vec<Route<RegistrarState>> {
    let mut routes = vec![Route::new(Method::GET, "/version", versions).on_any_transport()];
    for (list, one, activation) in [
        ("/v2*/agents", "/v2*/agents/:agent_id", "/v2*/agents/:agent_id/activate"),
        ("/v3*/agents", "/v3*/agents/:agent_id", "/v3*/agents/:agent_id/activate"),
    ] {
        routes.extend([
            Route::new(Method::GET, list, list_registrations),
            Route::new(Method::GET, one, show),
            Route::new(Method::DELETE, one, delete),
            Route::new(Method::POST, list, register).on_any_transport().with_small_body(),
            Route::new(Method::POST, activation, activate).on_any_transport().with_small_body(),
        ]);
    }
    routes.extend([
        Route::new(Method::POST, "/v2*/agents/:agent_id", register).on_any_transport().with_small_body(),
        Route::new(Method::PUT, "/v2*/agents/:agent_id", activate).on_any_transport().with_small_body(),
        Route::new(Method::PUT, "/v2*/agents/:agent_id/activate", activate).on_any_transport().with_small_body(),
        Route::new(Method::GET, "/v3*", root_v3).on_any_transport(),
    ]);
    routes
}

async fn versions(_: Arc<RegistrarState>, _: Call, _: Permit<permitted::ReadVersion>) -> Reply {
    version_list(REGISTRAR)
}

async fn root_v3(_: Arc<RegistrarState>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::envelope(REGISTRAR, &Envelope::empty(200, "Success"))
}

async fn list_registrations(state: Arc<RegistrarState>, _: Call, _: Permit<permitted::ListRegistrations>) -> Reply {
    match state.backend.registration_ids().await {
        Ok(uuids) => Reply::envelope(REGISTRAR, &Envelope::success(RegistrationList { uuids })),
        Err(error) => store_failure(REGISTRAR, &error),
    }
}

async fn show(state: Arc<RegistrarState>, call: Call, _: Permit<permitted::ReadRegistration>) -> Reply {
    let agent_id = call.parameter("agent_id");
    match state.backend.registration(agent_id).await {
        Ok(Some(record)) if record.active => Reply::envelope(REGISTRAR, &Envelope::success(registration(record))),
        Ok(Some(_)) => refused(404, format!("Agent with ID '{agent_id}' has not been activated")),
        Ok(None) => refused(404, format!("Agent with ID '{agent_id}' not found")),
        Err(error) => store_failure(REGISTRAR, &error),
    }
}

async fn delete(state: Arc<RegistrarState>, call: Call, _: Permit<permitted::DeleteRegistration>) -> Reply {
    let agent_id = call.parameter("agent_id");
    match state.backend.delete(agent_id).await {
        Ok(()) => success(),
        Err(DeleteError::NotFound) => refused(404, format!("Agent with ID '{agent_id}' not found")),
        Err(DeleteError::Busy { retry_after_seconds }) => busy(REGISTRAR, retry_after_seconds),
        Err(DeleteError::Store(error)) => store_failure(REGISTRAR, &error),
    }
}

async fn register(state: Arc<RegistrarState>, call: Call, _: Permit<permitted::RegisterAgent>) -> Reply {
    let members = call.members();
    let agent_id = match members.get("agent_id") {
        None => return Reply::empty(StatusCode::BAD_REQUEST),
        Some(Value::String(agent_id)) => agent_id.clone(),
        Some(_) => return refused(400, "Could not register agent with invalid data"),
    };
    match state.backend.register(RegisterAgent { agent_id: agent_id.clone(), members }).await {
        Ok(blob) => Reply::envelope(REGISTRAR, &Envelope::success(Challenge { blob })),
        Err(RegisterError::Invalid(reasons)) => {
            let agent_id = agent_id.escape_debug();
            tracing::warn!(target: "keylime.registrar", %agent_id, ?reasons, "registration refused");
            refused(400, "Could not register agent with invalid data")
        }
        Err(RegisterError::IdentityChanged) => {
            let id = agent_id.escape_debug();
            tracing::warn!(
                target: "keylime.registrar",
                "agent_id cannot re-register with different TPM identity: {id}; delete the agent first if its TPM was replaced"
            );
            refused(403, "Agent re-registration with different TPM identity is forbidden for security reasons")
        }
        Err(RegisterError::Concurrent) => refused(
            403,
            format!(
                "Agent with UUID '{agent_id}' cannot be registered. This UUID is already in use or a concurrent \
                 registration is in progress."
            ),
        ),
        Err(RegisterError::Busy { retry_after_seconds }) => busy(REGISTRAR, retry_after_seconds),
        Err(RegisterError::Store(error)) => store_failure(REGISTRAR, &error),
    }
}

async fn activate(state: Arc<RegistrarState>, call: Call, _: Permit<permitted::ActivateAgent>) -> Reply {
    let agent_id = call.parameter("agent_id");
    let members = call.members();
    let tag = match members.get("auth_tag") {
        Some(Value::String(tag)) if tag.chars().count() <= MAX_TAG_CHARACTERS => tag,
        None | Some(_) => return Reply::empty(StatusCode::BAD_REQUEST),
    };
    match state.backend.activate(agent_id, tag).await {
        Ok(()) => success(),
        Err(ActivateError::NotFound) => refused(404, format!("Agent with ID '{agent_id}' not found")),
        // The text repeats what the client sent and never what was expected (CVE-2023-38201).
        Err(ActivateError::WrongTag) => refused(
            400,
            format!(
                "Auth tag '{tag}' for agent '{agent_id}' does not match expected value. The agent has been deleted from \
                 the database and will need to be restarted to reattempt registration"
            ),
        ),
        Err(ActivateError::Busy { retry_after_seconds }) => busy(REGISTRAR, retry_after_seconds),
        Err(ActivateError::Store(error)) => store_failure(REGISTRAR, &error),
    }
}

fn success() -> Reply {
    Reply::envelope(REGISTRAR, &Envelope::empty(200, "Success"))
}

fn refused(code: u16, status: impl Into<String>) -> Reply {
    Reply::envelope(REGISTRAR, &Envelope::empty(code, status))
}

/// A record as the wire shows it: the agent's certificate as PEM, keys only of machines that were virtual in old versions.
fn registration(record: RegistrationRecord) -> Registration {
    Registration {
        agent_id: record.agent_id,
        ek_tpm: record.ek_tpm,
        ekcert: record.ekcert,
        aik_tpm: record.aik_tpm,
        ip: record.ip,
        port: record.port,
        mtls_cert: record.mtls_cert.map(|stored| pem(&stored)),
        regcount: record.regcount,
        provider_keys: record.is_virtual.unwrap_or(false).then(|| record.provider_keys.unwrap_or(Value::Null)),
    }
}

/// The stored base64 of a certificate as PEM; `disabled` and what is no base64 stay as they are.
fn pem(stored: &str) -> String {
    let Ok(der) = STANDARD.decode(stored.trim()) else { return stored.to_owned() };
    // `disabled` happens to be base64, too.
    if stored == "disabled" || der.first() != Some(&0x30) {
        return stored.to_owned();
    }
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_become_pem_and_the_keyword_stays() {
        assert_eq!(pem("disabled"), "disabled");
        let stored = STANDARD.encode([0x30u8; 60]);
        let lines: Vec<_> = pem(&stored).lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 16, 25]);
    }
}
