//! Measured boot policies in version 3: the rows of `/v2.x/mbpolicies` as resources of the type `uefi_refstate`.
//!
//! Attribute: `mb_policy`, the text of the policy; a request may bring it as an object. The id is the name.

use super::boot_policies::{in_use, of_members};
use super::json_api::{created, one, path_of, read_resource, translated};
use super::policies_v3::{listing, missing, name_of, refusal};
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::ports::NewBootPolicy;
use keylime_schema::wire::v3::json_api::Resource;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

const KIND: &str = "uefi_refstate";
const NOUN: &str = "Measured boot policy";

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
struct Attributes {
    name: String,
    mb_policy: Option<String>,
}

async fn list(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ListMbPolicies>) -> Reply {
    listing(&call, KIND, state.backend.store().boot_policy_names().await)
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().boot_policy(name).await {
        Ok(Some(policy)) => {
            let path = call.path().trim_end_matches('/').to_owned();
            one(&call, StatusCode::OK, resource(name.to_owned(), policy.text, path))
        }
        Ok(None) => missing(&call, NOUN, name),
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
        Err(error) => refusal(&call, NOUN, &name, error, in_use),
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
        Err(error) => refusal(&call, NOUN, name, error, in_use),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteMbPolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().delete_boot_policy(name).await {
        Ok(()) => Reply::no_content(),
        Err(error) => refusal(&call, NOUN, name, error, in_use),
    }
}

fn resource(name: String, text: Option<Arc<str>>, path: String) -> Resource<Attributes> {
    let mb_policy = text.map(|text| text.as_ref().to_owned());
    Resource { kind: KIND, id: Some(name.clone()), attributes: Attributes { name, mb_policy }, self_link: Some(path) }
}

/// The policy of a request.
fn uploaded(call: &Call, name: Option<&str>) -> Result<NewBootPolicy, Reply> {
    let mut resource = read_resource(call, KIND)?;
    let name = name_of(call, name, &resource)?;
    if let Some(policy @ Value::Object(_)) = resource.attributes.get_mut("mb_policy") {
        *policy = Value::String(policy.to_string());
    }
    of_members(name, &resource.attributes).map_err(|reply| translated(call, reply))
}
