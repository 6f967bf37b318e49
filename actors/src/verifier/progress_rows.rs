//! Between the database's columns and the lifecycle's facts.

use crate::ports::{AgentProgress, AgentRecord, ExplanationChange};
use keylime_engine::algorithm::Digest;
use keylime_engine::ids::AgentId;
use keylime_engine::ima::{ImaState, LearnedKeyrings};
use keylime_engine::lifecycle::{ApiVersion, Facts, PullState, QuoteAlgorithms};
use keylime_engine::verdict::Severity;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The facts of a stored agent.
#[must_use]
pub fn facts_of(record: &AgentRecord) -> Facts {
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    Facts {
        payload_key: text(&record.public_key),
        algorithms: Arc::new(QuoteAlgorithms {
            hash: record.hash_alg.as_str().into(),
            enc: record.enc_alg.as_str().into(),
            sign: record.sign_alg.as_str().into(),
        }),
        version: ApiVersion::from_stored(&record.supported_version),
        ima: ima_state_of(record),
        clock: record.tpm_clockinfo.clone().and_then(|json| serde_json::from_value(json).ok()).unwrap_or_default(),
        severity: record.severity_level.and_then(|level| u8::try_from(level).ok()).map(Severity),
        last_event_id: record.last_event_id.as_deref().map(Into::into),
        attestation_count: u64::try_from(record.attestation_count).unwrap_or(0),
        last_received_quote: record.last_received_quote,
        last_successful_attestation: record.last_successful_attestation,
    }
}

/// Keylime takes up a stored position in the measurement list only when a boot time is stored with it: without one nobody
/// can tell whether the agent rebooted while the verifier was away.
fn ima_state_of(record: &AgentRecord) -> ImaState {
    match (&record.pcr10, u64::try_from(record.next_ima_ml_entry)) {
        (Some(pcr10), Ok(next_entry)) if record.boottime != 0 => ImaState {
            next_entry,
            boottime: record.boottime,
            pcr10: Some(Digest::from_slice(pcr10)),
            learned: LearnedKeyrings::from_json(&record.learned_ima_keyrings).map(Arc::new),
            ..ImaState::default()
        },
        _ => ImaState::default(),
    }
}

/// The columns to store for a state.
#[must_use]
pub fn progress_of(agent_id: &AgentId, state: &PullState, explanations: ExplanationChange) -> Box<AgentProgress> {
    let facts = &state.facts;
    Box::new(AgentProgress {
        agent_id: agent_id.clone(),
        operational_state: Some(i32::from(state.shown.code())),
        public_key: facts.payload_key.clone().unwrap_or_default(),
        hash_alg: (&*facts.algorithms.hash).into(),
        enc_alg: (&*facts.algorithms.enc).into(),
        sign_alg: (&*facts.algorithms.sign).into(),
        supported_version: facts.version.text().into(),
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
        accept_attestations: true,
        consecutive_attestation_failures: 0,
        explanations,
    })
}
