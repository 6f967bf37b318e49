//! The commands about named runtime and measured boot policies.

use serde_json::{Value, json};
use tracing::warn;

use super::PolicyAction;
use super::enrol::sources;
use crate::error::TenantError;
use crate::http::{Body, Method};
use crate::output::{body_repr, compact};
use crate::policies;
use crate::session::Session;
use crate::verifier_client::PolicyKind;

/// Says that a command from the time of allowlists has a new name.
pub(super) fn warn_about_old_name(command: &str) {
    if let Some(action) = command.strip_suffix("allowlist") {
        warn!(target: "keylime.tenant", "The command {command} is deprecated: use {action}runtimepolicy");
    }
}

pub(super) async fn run(session: &mut Session, kind: PolicyKind, action: PolicyAction) -> Result<(), TenantError> {
    let name = policy_name(session, kind, action)?;
    let (method, body) = match action {
        PolicyAction::Add => (Method::Post, Body::Plain(body(session, kind).await?)),
        PolicyAction::Update => (Method::Put, Body::Plain(body(session, kind).await?)),
        PolicyAction::Show | PolicyAction::List => (Method::Get, Body::Empty),
        PolicyAction::Delete => (Method::Delete, Body::Empty),
    };
    let reply = session.verifier.policy(kind, method, name.as_deref(), body).await?;
    if let Some(title) = title(kind, action) {
        session.print(&format!("{title} command response: {}.", reply.status));
    }
    let shown = body_repr(&reply);
    session.print(&shown);
    session.answer.note("code", reply.status.into());
    session.answer.note("policies", reply.results().unwrap_or_default());
    if reply.status >= 400 {
        return Err(TenantError::Refused(shown));
    }
    Ok(())
}

/// The first words of the line before the answer, for the commands that have one.
fn title(kind: PolicyKind, action: PolicyAction) -> Option<&'static str> {
    match (kind, action) {
        (PolicyKind::Runtime, PolicyAction::Show) => Some("Show allowlist"),
        (PolicyKind::Runtime, PolicyAction::List) => Some("list"),
        (PolicyKind::MeasuredBoot, PolicyAction::Show) => Some("showmbpolicy"),
        (PolicyKind::MeasuredBoot, PolicyAction::List) => Some("listmbpolicy"),
        (_, PolicyAction::Add | PolicyAction::Update | PolicyAction::Delete) => None,
    }
}

/// The name the options give the policy; none is needed for a list.
fn policy_name(session: &Session, kind: PolicyKind, action: PolicyAction) -> Result<Option<String>, TenantError> {
    let option = |name: &str| session.options.value(name).map(str::to_owned);
    let (name, missing) = match (kind, action) {
        (_, PolicyAction::List) => return Ok(None),
        (PolicyKind::Runtime, PolicyAction::Add | PolicyAction::Update) => {
            if session.options.value("runtime_policy_name").is_none() && option("allowlist_name").is_some() {
                warn!(target: "keylime.tenant", "--allowlist-name is deprecated: use --runtime-policy-name");
            }
            let name = option("runtime_policy_name").or_else(|| option("allowlist_name"));
            (name, "runtime_policy_name is required to add a runtime policy")
        }
        (PolicyKind::Runtime, PolicyAction::Show) => (
            option("allowlist_name").or_else(|| option("runtime_policy_name")),
            "--allowlist_name or --runtime_policy_name is required to show a runtime policy",
        ),
        (PolicyKind::Runtime, PolicyAction::Delete) => (
            option("allowlist_name").or_else(|| option("runtime_policy_name")),
            "--allowlist_name or --runtime_policy_name is required to delete a runtime policy",
        ),
        (PolicyKind::MeasuredBoot, PolicyAction::Add | PolicyAction::Update) => {
            (option("mb_policy_name"), "mb_policy_name is required to add measure boot policy")
        }
        (PolicyKind::MeasuredBoot, PolicyAction::Show) => {
            (option("mb_policy_name"), "--mb_policy_name is required to show a runtime policy")
        }
        (PolicyKind::MeasuredBoot, PolicyAction::Delete) => {
            (option("mb_policy_name"), "--mb_policy_name is required to delete a runtime policy")
        }
    };
    name.map(Some).ok_or_else(|| TenantError::refused(missing))
}

async fn body(session: &Session, kind: PolicyKind) -> Result<String, TenantError> {
    let (sources, _files) = sources(&session.options, &session.settings).await?;
    let policies = policies::process(&sources)?;
    let body: Value = match kind {
        PolicyKind::Runtime => json!({
            "tpm_policy": policies.tpm_policy,
            "runtime_policy": policies.runtime_policy,
            "runtime_policy_key": policies.runtime_policy_key,
        }),
        PolicyKind::MeasuredBoot => json!({"mb_policy": policies.mb_policy}),
    };
    Ok(compact(&body))
}
