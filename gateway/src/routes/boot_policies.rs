//! Measured boot policies (`verifier-v2.md` §5).

use super::agents_v2::refused;
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_actors::ports::{NewBootPolicy, PolicyStoreError};
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::v2::policies::{BootPolicyNames, BootPolicyReply};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The routes of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v2*/mbpolicies", list),
        Route::new(Method::GET, "/v2*/mbpolicies/:name", show),
        Route::new(Method::POST, "/v2*/mbpolicies/:name", create),
        Route::new(Method::PUT, "/v2*/mbpolicies/:name", update),
        Route::new(Method::DELETE, "/v2*/mbpolicies/:name", delete).with_small_body(),
    ]
}

async fn list(state: Arc<VerifierState>, _: Call, _: Permit<permitted::ListMbPolicies>) -> Reply {
    match state.backend.store().boot_policy_names().await {
        Ok(names) => Reply::envelope(VERIFIER, &Envelope::success(BootPolicyNames { names })),
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().boot_policy(name).await {
        Ok(Some(policy)) => {
            let mb_policy = policy.text.map(|text| text.as_ref().to_owned());
            Reply::envelope(VERIFIER, &Envelope::success(BootPolicyReply { name: policy.name, mb_policy }))
        }
        Ok(None) => not_found(name),
        Err(error) => store_failure(VERIFIER, &error),
    }
}

async fn create(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateMbPolicy>) -> Reply {
    let policy = match uploaded(&call) {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let name = policy.name.clone();
    match state.backend.store().create_boot_policy(policy).await {
        Ok(()) => refused(201, "Created"),
        Err(PolicyStoreError::Exists) => refused(409, format!("Measured boot policy with name {name} already exists")),
        Err(PolicyStoreError::Missing) => not_found(&name),
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

async fn update(state: Arc<VerifierState>, call: Call, _: Permit<permitted::UpdateMbPolicy>) -> Reply {
    let policy = match uploaded(&call) {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let name = policy.name.clone();
    match state.backend.store().update_boot_policy(policy).await {
        Ok(users) => {
            state.backend.policy_changed(users).await;
            refused(201, "Created")
        }
        // 409 and not 404: the reference's answer, which its tenant expects.
        Err(PolicyStoreError::Missing | PolicyStoreError::Exists) => {
            refused(409, format!("Measured boot policy with name {name} does not already exist"))
        }
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().delete_boot_policy(name).await {
        Ok(()) => Reply::no_content(),
        Err(PolicyStoreError::Missing | PolicyStoreError::Exists) => not_found(name),
        Err(PolicyStoreError::InUse(agent)) => in_use(&agent),
        Err(PolicyStoreError::Store(error)) => store_failure(VERIFIER, &error),
    }
}

fn not_found(name: &str) -> Reply {
    refused(404, format!("Measured boot policy {name} not found"))
}

pub(super) fn in_use(agent: &str) -> Reply {
    refused(409, format!("Can't delete mb_policy as it's currently in use by agent {agent}"))
}

/// The policy of a request; its text is not looked at before an agent is attested with it.
fn uploaded(call: &Call) -> Result<NewBootPolicy, Reply> {
    if call.body().is_empty() {
        return Err(refused(400, "Expected non zero content length"));
    }
    let body = call.json().map_err(|error| refused(400, format!("request body is not valid JSON: {error}")))?;
    let Value::Object(members) = body else {
        return Err(refused(400, "request body must be a JSON object"));
    };
    of_members(call.parameter("name").to_owned(), members)
}

/// The policy that these members bring.
pub(super) fn of_members(name: String, members: &Map<String, Value>) -> Result<NewBootPolicy, Reply> {
    let text = match members.get("mb_policy") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Arc::from(text.as_str())),
        Some(_) => return Err(refused(400, "member 'mb_policy' must be a text or null")),
    };
    Ok(NewBootPolicy { name, text })
}
