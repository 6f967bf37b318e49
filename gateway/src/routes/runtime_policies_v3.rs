//! Runtime policies in version 3: the rows of `/v2.x/allowlists` as resources of the type `ima_policy`.
//!
//! Attributes: `runtime_policy` (a request brings it in base64 or as an object, an answer has its text), in requests also
//! `runtime_policy_key` and `tpm_policy` as in version 2. The id is the name.

use super::json_api::{created, errors, invalid_request, one, path_of, read_resource, translated};
use super::policies_v3::{listing, missing, name_of, refusal};
use super::runtime_policies::{in_use, of_members};
use super::store_reply::store_failure;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::ports::NewRuntimePolicy;
use keylime_engine::policy::runtime_policy::empty_policy;
use keylime_schema::wire::python_json;
use keylime_schema::wire::v3::binary;
use keylime_schema::wire::v3::error_object::ErrorObject;
use keylime_schema::wire::v3::json_api::Resource;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

const KIND: &str = "ima_policy";
const NOUN: &str = "Runtime policy";

/// The routes of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/v3*/policies/ima", list),
        Route::new(Method::POST, "/v3*/policies/ima", create),
        Route::new(Method::GET, "/v3*/policies/ima/:name", show),
        Route::new(Method::PATCH, "/v3*/policies/ima/:name", update),
        Route::new(Method::DELETE, "/v3*/policies/ima/:name", delete).with_small_body(),
    ]
}

#[derive(Serialize)]
struct Attributes {
    name: String,
    runtime_policy: String,
}

async fn list(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ListRuntimePolicies>) -> Reply {
    listing(&call, KIND, state.backend.store().runtime_policy_names().await)
}

async fn show(state: Arc<VerifierState>, call: Call, _: Permit<permitted::ReadRuntimePolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().runtime_policy(name).await {
        Ok(Some(policy)) => {
            let path = call.path().trim_end_matches('/').to_owned();
            one(&call, StatusCode::OK, resource(name.to_owned(), policy.text, path))
        }
        Ok(None) => missing(&call, NOUN, name),
        Err(error) => translated(&call, store_failure(VERIFIER, &error)),
    }
}

async fn create(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateRuntimePolicy>) -> Reply {
    let policy = match uploaded(&state, &call, None).await {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let stored = resource(policy.name.clone(), policy.text.clone(), path_of(&call, &policy.name));
    let name = policy.name.clone();
    match state.backend.store().create_runtime_policy(policy).await {
        Ok(()) => created(&call, stored),
        Err(error) => refusal(&call, NOUN, &name, error, in_use),
    }
}

async fn update(state: Arc<VerifierState>, call: Call, _: Permit<permitted::UpdateRuntimePolicy>) -> Reply {
    let name = call.parameter("name");
    let policy = match uploaded(&state, &call, Some(name)).await {
        Ok(policy) => policy,
        Err(reply) => return reply,
    };
    let stored = resource(policy.name.clone(), policy.text.clone(), call.path().trim_end_matches('/').to_owned());
    match state.backend.store().update_runtime_policy(policy).await {
        Ok(users) => {
            state.backend.policy_changed(users).await;
            one(&call, StatusCode::OK, stored)
        }
        Err(error) => refusal(&call, NOUN, name, error, in_use),
    }
}

async fn delete(state: Arc<VerifierState>, call: Call, _: Permit<permitted::DeleteRuntimePolicy>) -> Reply {
    let name = call.parameter("name");
    match state.backend.store().delete_runtime_policy(name).await {
        Ok(()) => Reply::no_content(),
        Err(error) => refusal(&call, NOUN, name, error, in_use),
    }
}

fn resource(name: String, text: Option<Arc<str>>, path: String) -> Resource<Attributes> {
    let runtime_policy = match text {
        Some(text) => text.as_ref().to_owned(),
        None => python_json::to_string(&empty_policy(), VERIFIER).unwrap_or_default(),
    };
    Resource {
        kind: KIND,
        id: Some(name.clone()),
        attributes: Attributes { name, runtime_policy },
        self_link: Some(path),
    }
}

/// The policy of a request.
async fn uploaded(state: &VerifierState, call: &Call, name: Option<&str>) -> Result<NewRuntimePolicy, Reply> {
    let mut resource = read_resource(call, KIND)?;
    let name = name_of(call, name, &resource)?;
    if let Some(policy @ Value::Object(_)) = resource.attributes.get_mut("runtime_policy") {
        *policy = Value::String(binary::encode(policy.to_string().as_bytes()));
    }
    if !resource.attributes.contains_key("runtime_policy") {
        let error = invalid_request("Attribute 'runtime_policy' is required.");
        let pointer = Some("/data/attributes/runtime_policy".to_owned());
        return Err(errors(call, vec![ErrorObject { pointer, ..error }]));
    }
    of_members(&state.settings, name, &resource.attributes).await.map_err(|reply| translated(call, reply))
}
