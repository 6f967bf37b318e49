//! Measured boot policies in version 3: the rows of `/v2.x/mbpolicies` as resources of the type `uefi_refstate`.
//!
//! Attribute: `mb_policy`, the text of the policy; a request may bring it as an object. The id is the name.

use super::boot_policies::{in_use, of_members};
use super::json_api::{created, errors, many, not_found, one, path_of, read_resource, translated};
use super::policy_upload::checked_name;
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::ports::{NewBootPolicy, PolicyStoreError};
use keylime_schema::wire::v3::error_object::ErrorObject;
use keylime_schema::wire::v3::json_api::Resource;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

const KIND: &str = "uefi_refstate";

/// The routes of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v3*/refstates/uefi", list),
        Route::new(Method::POST, "/v3*/refstates/uefi", create),
        Route::new(Method::GET, "/v3*/refstates/uefi/:name", show),
        Route::new(Method::PATCH, "/v3*/refstates/uefi/:name", update),
        Route::new(Method::DELETE, "/v3*/refstates/uefi/:name", delete).with_small_body(),
    ]
}

#[derive(Serialize)]
struct Listed {
    name: String,
}

#[derive(Serialize)]
struct Attributes {
    name: String,
    mb_policy: Option<String>,
}

async fn list(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ListMbPolicies>) -> Reply {
    match state.backend.store().boot_policy_names().await {
        Ok(names) => {
            let resource = |name: String| {
                let self_link = Some(path_of(&call, &name));
                Resource { kind: KIND, id: Some(name.clone()), attributes: Listed { name }, self_link }
            };
            many(&call, names.into_iter().map(resource).collect())
        }
        Err(error) => translated(&call, store_failure(VERIFIER, &error)),
    }
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().boot_policy(name).await {
        Ok(Some(policy)) => {
            let path = call.path().trim_end_matches('/').to_owned();
            one(&call, StatusCode::OK, resource(name.to_owned(), policy.text, path))
        }
        Ok(None) => missing(&call, name),
        Err(error) => translated(&call, store_failure(VERIFIER, &error)),
    }
}

async fn create(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateMbPolicy>) -> Reply {
    let policy = match uploaded(&call, None) {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let stored = resource(policy.name.clone(), policy.text.clone(), path_of(&call, &policy.name));
    let name = policy.name.clone();
    match state.backend.store().create_boot_policy(policy).await {
        Ok(()) => created(&call, stored),
        Err(error) => refusal(&call, &name, error),
    }
}

async fn update(state: Arc<VerifierState>, call: Call, _: Permit<permitted::UpdateMbPolicy>) -> Reply {
    let name = call.parameter("name");
    let policy = match uploaded(&call, Some(name)) {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let stored = resource(policy.name.clone(), policy.text.clone(), call.path().trim_end_matches('/').to_owned());
    match state.backend.store().update_boot_policy(policy).await {
        Ok(users) => {
            state.backend.policy_changed(users).await;
            one(&call, StatusCode::OK, stored)
        }
        Err(error) => refusal(&call, name, error),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().delete_boot_policy(name).await {
        Ok(()) => Reply::no_content(),
        Err(error) => refusal(&call, name, error),
    }
}

fn resource(name: String, text: Option<Arc<str>>, path: String) -> Resource<Attributes> {
    let mb_policy = text.map(|text| text.as_ref().to_owned());
    Resource { kind: KIND, id: Some(name.clone()), attributes: Attributes { name, mb_policy }, self_link: Some(path) }
}

fn missing(call: &Call, name: &str) -> Reply {
    not_found(call, format!("Measured boot policy {name} not found"))
}

fn refusal(call: &Call, name: &str, error: PolicyStoreError) -> Reply {
    match error {
        PolicyStoreError::Exists => {
            errors(call, vec![ErrorObject::conflict(format!("Measured boot policy with name {name} already exists"))])
        }
        PolicyStoreError::Missing => missing(call, name),
        PolicyStoreError::InUse(agent) => translated(call, in_use(&agent)),
        PolicyStoreError::Store(error) => translated(call, store_failure(VERIFIER, &error)),
    }
}

/// The policy of a request. The name in the path wins; a new policy is named by the id of its resource or its `name`.
fn uploaded(call: &Call, name: Option<&str>) -> Result<NewBootPolicy, Reply> {
    let mut resource = read_resource(call, KIND)?;
    let attribute = resource.attributes.get("name").and_then(Value::as_str);
    let name = name.or(resource.id.as_deref()).or(attribute).unwrap_or_default();
    let name = checked_name(name).map_err(|reply| translated(call, reply))?;
    if let Some(policy @ Value::Object(_)) = resource.attributes.get_mut("mb_policy") {
        *policy = Value::String(policy.to_string());
    }
    of_members(name, &resource.attributes).map_err(|reply| translated(call, reply))
}
