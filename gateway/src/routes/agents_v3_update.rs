//! `PATCH /v3/agents/{id}`: changes what an agent was enrolled with.
//!
//! The attributes are the members of an enrolment; those that are left out stay as they are. They are checked as an
//! enrolment with all of them would be, and policies are named and refused by its rules, with one difference: a policy
//! without a name takes the place of the agent's own, unless another agent uses that.

use super::agents_v2::refused;
use super::agents_v2_add::material::{self, Reach};
use super::agents_v2_add::{BootPolicyName, boot_policy_exists, boot_policy_missing, runtime_policy_exists};
use super::agents_v2_add::{runtime_policy_missing, unusable};
use super::agents_v3::{KIND, shown, unknown};
use super::json_api::{errors, one, read_resource, translated};
use super::policy_upload::{Upload, checked_name};
use super::store_reply::{busy, store_failure};
use super::{VERIFIER, VerifierSettings, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::ports::{AgentAmendment, AgentRecord, NewBootPolicy, NewRuntimePolicy, PolicyChoice};
use keylime_actors::verifier::{AmendError, CommandError};
use keylime_engine::ids::AgentId;
use keylime_schema::wire::v2::enrolment::EnrolmentRequest;
use keylime_schema::wire::v3::error_object::ErrorObject;
use keylime_schema::wire::v3::json_api::Resource;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The attributes that can be changed.
const CHANGEABLE: [&str; 11] = [
    "tpm_policy",
    "metadata",
    "runtime_policy",
    "runtime_policy_name",
    "runtime_policy_key",
    "mb_policy",
    "mb_policy_name",
    "ima_sign_verification_keys",
    "revocation_key",
    "accept_tpm_hash_algs",
    "accept_tpm_signing_algs",
];

/// Those of agents that are asked for their evidence.
const CHANGEABLE_OF_ASKED: [&str; 4] = ["cloudagent_ip", "cloudagent_port", "mtls_cert", "accept_tpm_encryption_algs"];

/// The route of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![Route::new(Method::PATCH, "/v3*/agents/:agent_id", update)]
}

async fn update(state: Arc<VerifierState>, call: Call, permit: Permit<permitted::UpdateAgent>) -> Reply {
    let mut resource = match read_resource(&call, KIND) {
        Ok(resource) => resource,
        Err(reply) => return reply,
    };
    let name = call.parameter("agent_id");
    let Ok(id) = AgentId::parse(name) else { return unknown(&call, name) };
    let named = [resource.id.as_deref(), resource.attributes.get("agent_id").and_then(Value::as_str)];
    if named.into_iter().flatten().any(|named| named != id.as_str()) {
        return errors(&call, vec![ErrorObject::conflict("The resource is not the one that the path names.")]);
    }
    resource.attributes.remove("agent_id");
    let record = match state.backend.store().agent(id.as_str()).await {
        Ok(Some(record)) => record,
        Ok(None) => return unknown(&call, id.as_str()),
        Err(error) => return translated(&call, store_failure(VERIFIER, &error)),
    };
    if let Some(fixed) = fixed_attribute(&record, &resource.attributes) {
        return errors(&call, vec![fixed]);
    }
    let changes = match amendment(&state.settings, &record, &resource.attributes).await {
        Ok(changes) => changes,
        Err(reply) => return translated(&call, reply),
    };
    if let Err(error) = state.backend.amend(&id, changes).await {
        return refusal(&call, &id, error);
    }
    let path = call.path().trim_end_matches('/').to_owned();
    shown(&state, &call, id.as_str(), super::agents_v2::view_of(permit.identity()), |resource| {
        one(&call, StatusCode::OK, Resource { self_link: Some(path), ..resource })
    })
    .await
}

/// The first attribute that cannot be changed: its identity and its model make an agent another one.
fn fixed_attribute(record: &AgentRecord, attributes: &Map<String, Value>) -> Option<ErrorObject> {
    let asked: &[&str] = if record.ip.is_some() { &CHANGEABLE_OF_ASKED } else { &["accept_tpm_encryption_algs"] };
    let fixed =
        attributes.keys().map(String::as_str).find(|name| !CHANGEABLE.contains(name) && !asked.contains(name))?;
    let detail = format!("Attribute '{fixed}' of an enrolled agent cannot be changed; delete and enrol the agent.");
    Some(ErrorObject::invalid_resource_data(detail, format!("/data/attributes/{fixed}")))
}

/// The changes that the attributes come to.
async fn amendment(
    settings: &VerifierSettings,
    record: &AgentRecord,
    attributes: &Map<String, Value>,
) -> Result<AgentAmendment, Reply> {
    let request = EnrolmentRequest::from_json(&as_enrolled(record, attributes)).map_err(unusable)?;
    let reach = if record.ip.is_some() { Reach::IsAsked } else { Reach::ComesByItself };
    material::check(&request, reach).map_err(unusable)?;
    let is_given = |name: &str| attributes.contains_key(name);
    let boot_policy = boot_policy(&request, record, is_given("mb_policy"))?;
    let changes = AgentAmendment {
        ip: request.cloudagent_ip.clone().filter(|_| is_given("cloudagent_ip")),
        port: request.cloudagent_port.filter(|_| is_given("cloudagent_port")),
        mtls_cert: is_given("mtls_cert").then(|| request.mtls_cert.clone().unwrap_or_else(|| "disabled".to_owned())),
        tpm_policy: is_given("tpm_policy").then(|| request.tpm_policy.clone()),
        meta_data: is_given("metadata").then(|| request.metadata.clone()),
        ima_sign_verification_keys: is_given("ima_sign_verification_keys")
            .then(|| request.ima_sign_verification_keys.clone()),
        revocation_key: is_given("revocation_key").then(|| request.revocation_key.clone()),
        accept_tpm_hash_algs: is_given("accept_tpm_hash_algs").then(|| request.accept_tpm_hash_algs.clone()),
        accept_tpm_encryption_algs: is_given("accept_tpm_encryption_algs")
            .then(|| request.accept_tpm_encryption_algs.clone()),
        accept_tpm_signing_algs: is_given("accept_tpm_signing_algs").then(|| request.accept_tpm_signing_algs.clone()),
        boot_policy,
        runtime_policy: runtime_policy(settings, request, record, is_given("runtime_policy")).await?,
    };
    if settings.agent_mtls && changes.mtls_cert.as_deref() == Some("disabled") {
        return Err(refused(400, "mTLS certificate for agent is required!"));
    }
    Ok(changes)
}

/// The members of an enrolment that would make this row, with the attributes in their places.
fn as_enrolled(record: &AgentRecord, attributes: &Map<String, Value>) -> Value {
    let mut members = json!({
        "cloudagent_ip": record.ip,
        "cloudagent_port": record.port,
        "tpm_policy": record.tpm_policy,
        "runtime_policy": "",
        "mb_policy": null,
        "mb_policy_name": "",
        "ima_sign_verification_keys": record.ima_sign_verification_keys,
        "metadata": record.meta_data,
        "revocation_key": record.revocation_key,
        "accept_tpm_hash_algs": record.accept_tpm_hash_algs,
        "accept_tpm_encryption_algs": record.accept_tpm_encryption_algs,
        "accept_tpm_signing_algs": record.accept_tpm_signing_algs,
        "ak_tpm": record.ak_tpm,
        "mtls_cert": record.mtls_cert,
    });
    for (name, value) in attributes {
        let in_base64 = name == "runtime_policy" && value.is_object();
        members[name] = if in_base64 { STANDARD.encode(value.to_string()).into() } else { value.clone() };
    }
    members
}

async fn runtime_policy(
    settings: &VerifierSettings,
    request: EnrolmentRequest,
    record: &AgentRecord,
    is_given: bool,
) -> Result<Option<PolicyChoice<NewRuntimePolicy>>, Reply> {
    let name = request.runtime_policy_name.as_deref().map(checked_name).transpose()?;
    let of_agent = record.agent_id.as_str().to_owned();
    let upload = |name: String, text| Upload { name, text, key: request.runtime_policy_key, tpm_policy: None };
    Ok(Some(match (name, request.runtime_policy) {
        (Some(name), Some(text)) => PolicyChoice::New(upload(name, text).check(settings).await?),
        (Some(name), None) => PolicyChoice::Stored(name),
        (None, Some(text)) => PolicyChoice::Own(upload(of_agent, text).check(settings).await?),
        (None, None) if is_given => PolicyChoice::Own(Upload::of_empty_policy(of_agent).check(settings).await?),
        (None, None) => return Ok(None),
    }))
}

fn boot_policy(
    request: &EnrolmentRequest,
    record: &AgentRecord,
    is_given: bool,
) -> Result<Option<PolicyChoice<NewBootPolicy>>, Reply> {
    let name = request.mb_policy_name.as_deref().map(checked_name).transpose()?;
    let text = request.mb_policy.as_deref().map(Arc::<str>::from);
    let is_supplied = text.as_ref().is_some_and(|text| !text.is_empty());
    Ok(match name {
        Some(name) if is_supplied => Some(PolicyChoice::New(NewBootPolicy { name, text })),
        Some(name) => Some(PolicyChoice::Stored(name)),
        None if is_given => Some(PolicyChoice::Own(NewBootPolicy { name: record.agent_id.as_str().to_owned(), text })),
        None => None,
    })
}

fn refusal(call: &Call, id: &AgentId, error: AmendError) -> Reply {
    let reply = match error {
        AmendError::Command(CommandError::NotFound | CommandError::OtherVerifier) => return unknown(call, id.as_str()),
        AmendError::Command(CommandError::Busy { retry_after_seconds }) => busy(VERIFIER, retry_after_seconds),
        AmendError::Command(CommandError::Store(error)) => store_failure(VERIFIER, &error),
        AmendError::RuntimePolicyExists(name) => runtime_policy_exists(&name),
        AmendError::RuntimePolicyMissing(name) => runtime_policy_missing(&name),
        AmendError::BootPolicyExists(name) => boot_policy_exists(&name, BootPolicyName::Given),
        AmendError::BootPolicyMissing(name) => boot_policy_missing(&name),
        AmendError::Invalid(problem) => unusable(problem),
    };
    translated(call, reply)
}
