//! Runtime policies (`verifier-v2.md` §4).

use super::agents_v2::refused;
use super::policy_upload::{Upload, checked_name};
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierSettings, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_actors::ports::{NewRuntimePolicy, PolicyStoreError};
use keylime_engine::policy::runtime_policy::empty_policy;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json;
use keylime_schema::wire::v2::enrolment::lenient_base64;
use keylime_schema::wire::v2::policies::{RuntimePolicyNames, RuntimePolicyReply};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The routes of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v2*/allowlists", list),
        Route::new(Method::GET, "/v2*/allowlists/:name", show),
        Route::new(Method::POST, "/v2*/allowlists/:name", create),
        Route::new(Method::PUT, "/v2*/allowlists/:name", update),
        Route::new(Method::DELETE, "/v2*/allowlists/:name", delete).with_small_body(),
        // The documentation of 2.1 to 2.5 spells this one route in the singular.
        Route::new(Method::DELETE, "/v2*/allowlist/:name", delete).with_small_body(),
    ]
}

async fn list(state: Arc<VerifierState>, _: Call, _: Permit<permitted::ListRuntimePolicies>) -> Reply {
    match state.backend.store().runtime_policy_names().await {
        Ok(names) => Reply::envelope(VERIFIER, &Envelope::success(RuntimePolicyNames { names })),
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadRuntimePolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().runtime_policy(name).await {
        Ok(Some(policy)) => {
            let runtime_policy = match policy.text {
                Some(text) => text.as_ref().to_owned(),
                None => python_json::to_string(&empty_policy(), VERIFIER).unwrap_or_default(),
            };
            let reply = RuntimePolicyReply { name: policy.name, tmp_policy: None, runtime_policy };
            Reply::envelope(VERIFIER, &Envelope::success(reply))
        }
        Ok(None) => not_found(name),
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn create(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateRuntimePolicy>) -> Reply {
    let policy = match uploaded(&state, &call).await {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let name = policy.name.clone();
    match state.backend.store().create_runtime_policy(policy).await {
        Ok(()) => refused(201, "Created"),
        Err(PolicyStoreError::Exists) => refused(409, format!("Runtime policy with name {name} already exists")),
        Err(PolicyStoreError::Missing) => not_found(&name),
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

async fn update(state: Arc<VerifierState>, call: Call, _: Permit<permitted::UpdateRuntimePolicy>) -> Reply {
    let policy = match uploaded(&state, &call).await {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let name = policy.name.clone();
    match state.backend.store().update_runtime_policy(policy).await {
        Ok(users) => {
            state.backend.policy_changed(users).await;
            refused(201, "Created")
        }
        Err(PolicyStoreError::Missing | PolicyStoreError::Exists) => {
            refused(404, format!("Runtime policy with name {name} does not already exist, use POST to create"))
        }
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteRuntimePolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().delete_runtime_policy(name).await {
        Ok(()) => Reply::no_content(),
        Err(PolicyStoreError::Missing | PolicyStoreError::Exists) => not_found(name),
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

fn not_found(name: &str) -> Reply {
    refused(404, format!("Runtime policy {name} not found"))
}

pub(super) fn in_use(agent: &str) -> Reply {
    refused(409, format!("Can't delete allowlist as it's currently in use by agent {agent}"))
}

async fn uploaded(state: &VerifierState, call: &Call) -> Result<NewRuntimePolicy, Reply> {
    let name = checked_name(call.parameter("name"))?;
    if call.body().is_empty() {
        return Err(refused(400, "Expected non zero content length"));
    }
    let body = call.json().map_err(|error| refused(400, format!("request body is not valid JSON: {error}")))?;
    let Value::Object(members) = body else {
        return Err(refused(400, "request body must be a JSON object"));
    };
    of_members(&state.settings, name, members).await
}

/// The policy that these members bring, checked.
pub(super) async fn of_members(
    settings: &VerifierSettings,
    name: String,
    members: &Map<String, Value>,
) -> Result<NewRuntimePolicy, Reply> {
    let text = base64(members, "runtime_policy")?;
    let text = text.ok_or_else(|| refused(400, "member 'runtime_policy' is missing"))?;
    let key = base64(members, "runtime_policy_key")?.filter(|key| !key.is_empty());
    let tpm_policy = match members.get("tpm_policy") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(refused(400, "member 'tpm_policy' must be a text")),
    };
    Upload { name, text, key, tpm_policy }.check(settings).await
}

fn base64(members: &Map<String, Value>, member: &str) -> Result<Option<Vec<u8>>, Reply> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            lenient_base64(text).map(Some).ok_or_else(|| refused(400, format!("member '{member}' is not valid base64")))
        }
        Some(_) => Err(refused(400, format!("member '{member}' must be a base64 text"))),
    }
}
