//! Enrolment of an agent (`verifier-v2.md` §3.1). Everything is checked before anything is stored.

use super::agents_v2::{agent_id, refused, success};
use super::policy_upload::{Upload, checked_name};
use super::store_reply::{busy, store_failure};
use super::{VERIFIER, VerifierSettings, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::configuration::Mode;
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_actors::ports::{NewBootPolicy, NewRuntimePolicy, PolicyChoice};
use keylime_actors::verifier::{EnrolAgent, EnrolError};
use keylime_engine::ids::AgentId;
use keylime_schema::wire::api_version::ApiVersion;
use keylime_schema::wire::v2::enrolment::EnrolmentRequest;
use serde_json::Value;
use std::fmt::Display;
use std::sync::Arc;

pub(super) mod material;

/// The route of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![Route::new(Method::POST, "/v2*/agents/:agent_id", add)]
}

async fn add(state: Arc<VerifierState>, call: Call, _: Permit<permitted::CreateAgent>) -> Reply {
    let id = match agent_id(&call) {
        Ok(id) => id,
        Err(reply) => return reply,
    };
    if call.body().is_empty() {
        return refused(400, "Expected non zero content length");
    }
    match call.json() {
        Ok(body) => enrol(&state, &id, body).await,
        Err(error) => refused(400, format!("Exception error: body is not valid JSON: {error}")),
    }
}

/// Enrols an agent with the members of this body.
pub(super) async fn enrol(state: &VerifierState, id: &AgentId, body: &Value) -> Reply {
    let (agent, boot_policy_named) = match checked(&state.settings, id.clone(), body).await {
        Ok(checked) => checked,
        Err(reply) => return reply,
    };
    match state.backend.enrol(agent).await {
        Ok(()) => success(),
        Err(error) => enrolment_refused(id, error, boot_policy_named),
    }
}

/// Whether the request named its measured boot policy; the refusal is worded accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BootPolicyName {
    Given,
    OfAgent,
}

async fn checked(
    settings: &VerifierSettings,
    agent_id: AgentId,
    body: &Value,
) -> Result<(EnrolAgent, BootPolicyName), Reply> {
    let mut request = EnrolmentRequest::from_json(body).map_err(unusable)?;
    let version = supported_version(request.supported_version.as_deref());
    let is_pushed = match settings.mode {
        Mode::Pull => false,
        Mode::Push => true,
        // Tenants name the model; an agent without an address cannot be asked in any case.
        Mode::Both => request.cloudagent_ip.is_none() || body["attestation_model"] == "push",
    };
    if is_pushed {
        // An agent that comes by itself is never asked, so its address is of no use.
        (request.cloudagent_ip, request.cloudagent_port) = (None, None);
    } else if version != ApiVersion::new(1, 0) && settings.agent_mtls && request.mtls_cert.is_none() {
        return Err(refused(400, "mTLS certificate for agent is required!"));
    }
    let reach = if is_pushed { material::Reach::ComesByItself } else { material::Reach::IsAsked };
    material::check(&request, reach).map_err(unusable)?;
    let (boot_policy, boot_policy_named) = boot_policy(&request, &agent_id)?;
    let agent = EnrolAgent {
        v: request.v.clone(),
        ip: request.cloudagent_ip.clone(),
        port: request.cloudagent_port,
        verifier_ip: request.verifier_ip.clone().unwrap_or_else(|| settings.ip.clone()),
        verifier_port: request.verifier_port.unwrap_or(i32::from(settings.port)),
        tpm_policy: request.tpm_policy.clone(),
        meta_data: request.metadata.clone(),
        ima_sign_verification_keys: request.ima_sign_verification_keys.clone(),
        revocation_key: request.revocation_key.clone(),
        accept_tpm_hash_algs: request.accept_tpm_hash_algs.clone(),
        accept_tpm_encryption_algs: request.accept_tpm_encryption_algs.clone(),
        accept_tpm_signing_algs: request.accept_tpm_signing_algs.clone(),
        ak_tpm: request.ak_tpm.clone(),
        mtls_cert: request.mtls_cert.clone(),
        supported_version: version.to_string(),
        boot_policy,
        runtime_policy: runtime_policy(settings, request, &agent_id).await?,
        agent_id,
    };
    Ok((agent, boot_policy_named))
}

/// The version the agent is talked to in; one that nobody knows is replaced by the current one (the reference's rule).
fn supported_version(text: Option<&str>) -> ApiVersion {
    text.and_then(ApiVersion::parse).filter(|version| version.is_supported()).unwrap_or(ApiVersion::CURRENT)
}

async fn runtime_policy(
    settings: &VerifierSettings,
    request: EnrolmentRequest,
    agent_id: &AgentId,
) -> Result<PolicyChoice<NewRuntimePolicy>, Reply> {
    let name = request.runtime_policy_name.as_deref().map(checked_name).transpose()?;
    let upload = |name: String, text| Upload { name, text, key: request.runtime_policy_key, tpm_policy: None };
    let of_agent = agent_id.as_str().to_owned();
    match (name, request.runtime_policy) {
        (Some(name), Some(text)) => Ok(PolicyChoice::New(upload(name, text).check(settings).await?)),
        (Some(name), None) => Ok(PolicyChoice::Stored(name)),
        (None, Some(text)) => Ok(PolicyChoice::StoredOrNew(upload(of_agent, text).check(settings).await?)),
        (None, None) => Ok(PolicyChoice::StoredOrNew(Upload::of_empty_policy(of_agent).check(settings).await?)),
    }
}

fn boot_policy(
    request: &EnrolmentRequest,
    agent_id: &AgentId,
) -> Result<(PolicyChoice<NewBootPolicy>, BootPolicyName), Reply> {
    let name = request.mb_policy_name.as_deref().map(checked_name).transpose()?;
    let text = request.mb_policy.as_deref().map(Arc::<str>::from);
    let supplied = text.as_ref().is_some_and(|text| !text.is_empty());
    let of_agent = || agent_id.as_str().to_owned();
    Ok(match (name, supplied) {
        (Some(name), true) => (PolicyChoice::New(NewBootPolicy { name, text }), BootPolicyName::Given),
        (Some(name), false) => (PolicyChoice::Stored(name), BootPolicyName::Given),
        (None, true) => (PolicyChoice::New(NewBootPolicy { name: of_agent(), text }), BootPolicyName::OfAgent),
        (None, false) => (PolicyChoice::StoredOrNew(NewBootPolicy { name: of_agent(), text }), BootPolicyName::OfAgent),
    })
}

fn enrolment_refused(id: &AgentId, error: EnrolError, boot_policy_named: BootPolicyName) -> Reply {
    match error {
        EnrolError::AgentExists => {
            refused(409, format!("Agent of uuid {id} already exists. Please use delete or update."))
        }
        EnrolError::RuntimePolicyExists(name) => runtime_policy_exists(&name),
        EnrolError::RuntimePolicyMissing(name) => runtime_policy_missing(&name),
        EnrolError::BootPolicyExists(name) => boot_policy_exists(&name, boot_policy_named),
        EnrolError::BootPolicyMissing(name) => boot_policy_missing(&name),
        EnrolError::Invalid(problem) => unusable(problem),
        EnrolError::Busy { retry_after_seconds } => busy(VERIFIER, retry_after_seconds),
        EnrolError::Store(error) => store_failure(VERIFIER, &error),
    }
}

/// 400: an agent cannot be attested with what the request says of it.
pub(super) fn unusable(problem: impl Display) -> Reply {
    refused(400, format!("Exception error: {problem}"))
}

pub(super) fn runtime_policy_exists(name: &str) -> Reply {
    let advice = "Please use a different name or delete the allowlist from the verifier.";
    refused(409, format!("IMA policy with name {name} already exists. {advice}"))
}

pub(super) fn runtime_policy_missing(name: &str) -> Reply {
    refused(404, format!("Could not find IMA policy with name {name}!"))
}

pub(super) fn boot_policy_exists(name: &str, named: BootPolicyName) -> Reply {
    let advice = match named {
        BootPolicyName::Given => "Please use a different name or delete the mb_policy from the verifier.",
        BootPolicyName::OfAgent => "You can delete the mb_policy from the verifier.",
    };
    refused(409, format!("mb_policy with name {name} already exists. {advice}"))
}

pub(super) fn boot_policy_missing(name: &str) -> Reply {
    refused(404, format!("Could not find mb_policy with name {name}!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_become_the_current_one() {
        for (text, version) in [(Some("2.1"), "2.1"), (Some("1.0"), "1.0"), (Some("9.9"), "2.6"), (None, "2.6")] {
            assert_eq!(supported_version(text).to_string(), version);
        }
    }
}
