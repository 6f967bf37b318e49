//! What users are shown of an agent: its row, overlaid with what its actor knows better.

use crate::ports::{AgentRecord, StatedPolicies};
use crate::verifier::api::AgentStatus;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::attestation_status::{pull_status, push_status};
use keylime_engine::lifecycle::{AttestationStatus, Facts, OperationalState, PullSettings};
use keylime_engine::time::Now;
use keylime_engine::verdict::Explanation;
use std::time::Duration;

/// What an actor knows of its agent.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// The agent.
    pub agent_id: AgentId,
    /// State shown to users; `None` when the actor is not alive.
    pub live: Option<(OperationalState, Facts)>,
    /// Why the last attestation failed, for people.
    pub failure_details: Vec<String>,
    /// The failures of the last attestation, none after a pass; `None` when only the database knows them.
    pub explanations: Option<Vec<Explanation>>,
    /// The actor crashed too often.
    pub quarantined: bool,
}

/// The status of a stored agent.
#[must_use]
pub fn status_of(
    record: AgentRecord,
    snapshot: Option<AgentSnapshot>,
    policies: &StatedPolicies,
    settings: &PullSettings,
    now: Now,
) -> AgentStatus {
    let is_push = record.operational_state.is_none() || (record.ip.is_none() && record.port.is_none());
    let mut status = AgentStatus {
        operational_state: record.operational_state.and_then(|code| u8::try_from(code).ok()),
        attestation_status: AttestationStatus::Pending,
        failure_details: Vec::new(),
        explanations: Vec::new(),
        quarantined: false,
        has_mb_refstate: record.boot_policy_id.is_some_and(|id| policies.boot.contains(&id)),
        has_runtime_policy: record.runtime_policy_id.is_some_and(|id| policies.runtime.contains(&id)),
        agent_id: record.agent_id.as_str().to_owned(),
        v: record.v,
        ip: record.ip,
        port: record.port,
        tpm_policy: record.tpm_policy,
        meta_data: record.meta_data,
        accept_tpm_hash_algs: record.accept_tpm_hash_algs,
        accept_tpm_encryption_algs: record.accept_tpm_encryption_algs,
        accept_tpm_signing_algs: record.accept_tpm_signing_algs,
        hash_alg: record.hash_alg,
        enc_alg: record.enc_alg,
        sign_alg: record.sign_alg,
        verifier_id: record.verifier_id,
        verifier_ip: record.verifier_ip,
        verifier_port: record.verifier_port,
        severity_level: record.severity_level.and_then(|level| u8::try_from(level).ok()),
        last_event_id: record.last_event_id,
        attestation_count: record.attestation_count,
        last_received_quote: record.last_received_quote,
        last_successful_attestation: record.last_successful_attestation,
    };
    if let Some(snapshot) = snapshot {
        overlay(&mut status, snapshot);
    }
    status.attestation_status = if is_push && status.quarantined {
        // Nobody notices its silence.
        AttestationStatus::Pending
    } else if is_push {
        let failures = u32::try_from(record.consecutive_attestation_failures).unwrap_or(0);
        let count = u64::try_from(status.attestation_count).unwrap_or(0);
        push_status(Some(record.accept_attestations), failures, count)
    } else {
        pull_attestation_status(&status, settings, now)
    };
    status
}

fn overlay(status: &mut AgentStatus, snapshot: AgentSnapshot) {
    status.quarantined = snapshot.quarantined;
    status.failure_details = snapshot.failure_details;
    status.explanations = snapshot.explanations.unwrap_or_default();
    let Some((shown, facts)) = snapshot.live else {
        return;
    };
    status.operational_state = Some(shown.code());
    status.hash_alg = facts.algorithms.hash.to_string();
    status.enc_alg = facts.algorithms.enc.to_string();
    status.sign_alg = facts.algorithms.sign.to_string();
    status.severity_level = facts.severity.map(|severity| severity.0);
    status.last_event_id = facts.last_event_id.map(Into::into);
    status.attestation_count = i64::try_from(facts.attestation_count).unwrap_or(i64::MAX);
    status.last_received_quote = facts.last_received_quote;
    status.last_successful_attestation = facts.last_successful_attestation;
}

fn pull_attestation_status(status: &AgentStatus, settings: &PullSettings, now: Now) -> AttestationStatus {
    let stored = status.operational_state.and_then(|code| OperationalState::from_code(i64::from(code)));
    let age = u64::try_from(now.wall_seconds.saturating_sub(status.last_successful_attestation)).unwrap_or(0);
    match stored {
        Some(state) => pull_status(state, Duration::from_secs(age), settings),
        None => AttestationStatus::Pending,
    }
}
