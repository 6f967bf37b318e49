//! What the version 3 routes of both kinds of policy have in common: their listing, their names and their refusals.

use super::VERIFIER;
use super::json_api::{errors, many, not_found, path_of, translated};
use super::policy_upload::checked_name;
use super::store_reply::store_failure;
use crate::routing::{Call, Reply};
use keylime_actors::ports::{PolicyStoreError, StoreError};
use keylime_schema::wire::v3::error_object::ErrorObject;
use keylime_schema::wire::v3::json_api::{RequestResource, Resource};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Listed {
    name: String,
}

/// The names of all policies, as resources of the type `kind`.
pub(super) fn listing(call: &Call, kind: &'static str, names: Result<Vec<String>, StoreError>) -> Reply {
    let resource = |name: String| {
        let self_link = Some(path_of(call, &name));
        Resource { kind, id: Some(name.clone()), attributes: Listed { name }, self_link }
    };
    match names {
        Ok(names) => many(call, names.into_iter().map(resource).collect()),
        Err(error) => translated(call, store_failure(VERIFIER, &error)),
    }
}

/// 404 for a policy that is not there; `noun` says of which kind.
pub(super) fn missing(call: &Call, noun: &str, name: &str) -> Reply {
    not_found(call, format!("{noun} {name} not found"))
}

/// Why the store did not take a policy; `in_use` words that an agent still needs it.
pub(super) fn refusal(
    call: &Call,
    noun: &str,
    name: &str,
    error: PolicyStoreError,
    in_use: impl FnOnce(&str) -> Reply,
) -> Reply {
    match error {
        PolicyStoreError::Exists => {
            errors(call, vec![ErrorObject::conflict(format!("{noun} with name {name} already exists"))])
        }
        PolicyStoreError::Missing => missing(call, noun, name),
        PolicyStoreError::InUse(agent) => translated(call, in_use(&agent)),
        PolicyStoreError::Store(error) => translated(call, store_failure(VERIFIER, &error)),
    }
}

/// The name of a policy that a request brings. The name in the path wins; a new policy is named by the id of its resource
/// or its attribute `name`.
pub(super) fn name_of(call: &Call, in_path: Option<&str>, resource: &RequestResource) -> Result<String, Reply> {
    let attribute = resource.attributes.get("name").and_then(Value::as_str);
    let name = in_path.or(resource.id.as_deref()).or(attribute).unwrap_or_default();
    checked_name(name).map_err(|reply| translated(call, reply))
}
