//! Between the database's columns and the facts about a push agent.

use crate::ports::{AgentProgress, AgentRecord, ExplanationChange};
use crate::verifier::progress_rows::facts_of;
use crate::verifier::push_material::PushMaterial;
use keylime_engine::lifecycle::{OperationalState, Presence, PushFacts};
use serde_json::{Map, Value};

/// The facts of a stored push agent.
#[must_use]
pub fn push_facts_of(record: &AgentRecord) -> PushFacts {
    let facts = facts_of(record);
    let consecutive_failures = u32::try_from(record.consecutive_attestation_failures).unwrap_or(0);
    PushFacts {
        ima: facts.ima,
        boot_time: None,
        clock: facts.clock,
        consecutive_failures,
        // An agent that is failing was announced; a restart is no new event.
        announced: facts.severity.filter(|_| consecutive_failures > 0),
        severity: facts.severity,
        last_event_id: facts.last_event_id,
        attestation_count: facts.attestation_count,
        last_received_quote: facts.last_received_quote,
        last_successful_attestation: facts.last_successful_attestation,
    }
}

/// Whether a stored push agent is heard of.
#[must_use]
pub fn presence_of(record: &AgentRecord) -> Presence {
    if record.accept_attestations { Presence::Heard } else { Presence::Silent }
}

/// The columns to store.
#[must_use]
pub fn push_progress_of(
    material: &PushMaterial,
    facts: &PushFacts,
    presence: Presence,
    explanations: ExplanationChange,
) -> Box<AgentProgress> {
    Box::new(AgentProgress {
        agent_id: material.agent_id.clone(),
        operational_state: Some(i32::from(OperationalState::GetQuote.code())),
        public_key: "".into(),
        hash_alg: "".into(),
        enc_alg: "".into(),
        sign_alg: "".into(),
        supported_version: (&*material.supported_version).into(),
        boottime: facts.ima.boottime,
        ima_pcrs: facts.ima.pcr10.iter().map(|_| 10).collect(),
        pcr10: facts.ima.pcr10.map(|digest| digest.as_bytes().to_vec()),
        next_ima_ml_entry: i64::try_from(facts.ima.next_entry).unwrap_or(i64::MAX),
        learned_ima_keyrings: facts
            .ima
            .learned
            .as_ref()
            .map_or_else(|| Value::Object(Map::new()), |learned| learned.to_json()),
        severity_level: facts.severity.map(|severity| i32::from(severity.0)),
        last_event_id: facts.last_event_id.as_deref().map(str::to_owned),
        attestation_count: i64::try_from(facts.attestation_count).unwrap_or(i64::MAX),
        last_received_quote: facts.last_received_quote,
        last_successful_attestation: facts.last_successful_attestation,
        tpm_clockinfo: serde_json::to_value(facts.clock).ok(),
        accept_attestations: presence == Presence::Heard,
        consecutive_attestation_failures: i32::try_from(facts.consecutive_failures).unwrap_or(i32::MAX),
        explanations,
    })
}
