//! The columns of `verifiermain`: one agent's row read, inserted, and changed by attestation.

use super::json_column;
use super::row::Row;
use crate::ports::{AgentProgress, AgentRecord};
use keylime_engine::ids::AgentId;
use keylime_schema::database::entity::verifier_agent::{Column, Entity};
use sea_orm::sea_query::{OnConflict, Query, SelectStatement};
use sea_orm::{ColumnTrait as _, IdenStatic as _, Iterable as _, Value};
use serde_json::Value as Json;

/// Every column, in no particular order.
pub(super) fn select() -> SelectStatement {
    Query::select().columns(Column::iter()).from(Entity).to_owned()
}

/// Reads a row. Columns that Keylime leaves empty have the values of a freshly enrolled agent.
///
/// # Errors
/// (id as far as it can be read, what is wrong with the row).
pub(super) fn decode(row: &Row<'_>) -> Result<AgentRecord, (String, String)> {
    let id = row.text(Column::AgentId.as_str()).ok().flatten().unwrap_or_default();
    decode_columns(row, &id).map_err(|reason| (id, reason))
}

fn decode_columns(row: &Row<'_>, id: &str) -> Result<AgentRecord, String> {
    let json = |column: Column| {
        let text = row.text(column.as_str())?;
        json_column::decode(text.as_deref()).map_err(|error| format!("{}: {error}", column.as_str()))
    };
    let texts = |column: Column| {
        let text = row.text(column.as_str())?;
        json_column::decode_texts(text.as_deref()).map_err(|error| format!("{}: {error}", column.as_str()))
    };
    let text = |column: Column| row.text_or_empty(column.as_str());
    let optional_text = |column: Column| row.text(column.as_str());
    let integer = |column: Column| row.integer(column.as_str()).map(Option::unwrap_or_default);
    let small = |column: Column| row.small_integer(column.as_str());
    let ima_pcrs = row.text(Column::ImaPcrs.as_str())?;
    Ok(AgentRecord {
        agent_id: AgentId::parse(id).map_err(|error| error.to_string())?,
        v: optional_text(Column::V)?,
        ip: optional_text(Column::Ip)?,
        port: small(Column::Port)?,
        operational_state: small(Column::OperationalState)?,
        public_key: text(Column::PublicKey)?,
        tpm_policy: json_column::decode_policy_text(optional_text(Column::TpmPolicy)?.as_deref()),
        meta_data: text(Column::MetaData)?,
        runtime_policy_id: small(Column::ImaPolicyId)?,
        boot_policy_id: small(Column::MbPolicyId)?,
        ima_sign_verification_keys: text(Column::ImaSignVerificationKeys)?,
        revocation_key: text(Column::RevocationKey)?,
        accept_tpm_hash_algs: texts(Column::AcceptTpmHashAlgs)?,
        accept_tpm_encryption_algs: texts(Column::AcceptTpmEncryptionAlgs)?,
        accept_tpm_signing_algs: texts(Column::AcceptTpmSigningAlgs)?,
        hash_alg: text(Column::HashAlg)?,
        enc_alg: text(Column::EncAlg)?,
        sign_alg: text(Column::SignAlg)?,
        verifier_id: text(Column::VerifierId)?,
        verifier_ip: text(Column::VerifierIp)?,
        verifier_port: small(Column::VerifierPort)?.unwrap_or_default(),
        boottime: integer(Column::Boottime)?,
        ima_pcrs: json_column::decode_integers(ima_pcrs.as_deref())
            .map_err(|error| format!("{}: {error}", Column::ImaPcrs.as_str()))?,
        pcr10: row.bytes(Column::Pcr10.as_str())?,
        next_ima_ml_entry: integer(Column::NextImaMlEntry)?,
        learned_ima_keyrings: match json(Column::LearnedImaKeyrings)? {
            Json::Null => Json::Object(serde_json::Map::new()),
            learned => learned,
        },
        severity_level: small(Column::SeverityLevel)?,
        last_event_id: optional_text(Column::LastEventId)?,
        supported_version: text(Column::SupportedVersion)?,
        ak_tpm: text(Column::AkTpm)?,
        mtls_cert: optional_text(Column::MtlsCert)?,
        attestation_count: integer(Column::AttestationCount)?,
        last_received_quote: integer(Column::LastReceivedQuote)?,
        last_successful_attestation: integer(Column::LastSuccessfulAttestation)?,
        tpm_clockinfo: Some(json(Column::TpmClockinfo)?).filter(|clock| !clock.is_null()),
        accept_attestations: row.flag(Column::AcceptAttestations.as_str())?.unwrap_or(true),
        consecutive_attestation_failures: small(Column::ConsecutiveAttestationFailures)?.unwrap_or_default(),
    })
}

/// The columns of [`enrolment_row`], in its order.
pub(super) const ENROLMENT: [Column; 37] = [
    Column::AgentId,
    Column::V,
    Column::Ip,
    Column::Port,
    Column::OperationalState,
    Column::PublicKey,
    Column::TpmPolicy,
    Column::MetaData,
    Column::ImaPolicyId,
    Column::MbPolicyId,
    Column::ImaSignVerificationKeys,
    Column::RevocationKey,
    Column::AcceptTpmHashAlgs,
    Column::AcceptTpmEncryptionAlgs,
    Column::AcceptTpmSigningAlgs,
    Column::HashAlg,
    Column::EncAlg,
    Column::SignAlg,
    Column::VerifierId,
    Column::VerifierIp,
    Column::VerifierPort,
    Column::Boottime,
    Column::ImaPcrs,
    Column::Pcr10,
    Column::NextImaMlEntry,
    Column::LearnedImaKeyrings,
    Column::SeverityLevel,
    Column::LastEventId,
    Column::SupportedVersion,
    Column::AkTpm,
    Column::MtlsCert,
    Column::AttestationCount,
    Column::LastReceivedQuote,
    Column::LastSuccessfulAttestation,
    Column::TpmClockinfo,
    Column::AcceptAttestations,
    Column::ConsecutiveAttestationFailures,
];

/// A new agent's values, with the policies it was given.
pub(super) fn enrolment_row(
    agent: &AgentRecord,
    runtime_policy_id: Option<i32>,
    boot_policy_id: Option<i32>,
) -> Vec<Value> {
    vec![
        agent.agent_id.as_str().into(),
        agent.v.clone().into(),
        agent.ip.clone().into(),
        agent.port.into(),
        agent.operational_state.into(),
        agent.public_key.as_str().into(),
        json_column::encode_text(&agent.tpm_policy).into(),
        agent.meta_data.as_str().into(),
        runtime_policy_id.into(),
        boot_policy_id.into(),
        agent.ima_sign_verification_keys.as_str().into(),
        agent.revocation_key.as_str().into(),
        json_column::encode_texts(&agent.accept_tpm_hash_algs).into(),
        json_column::encode_texts(&agent.accept_tpm_encryption_algs).into(),
        json_column::encode_texts(&agent.accept_tpm_signing_algs).into(),
        agent.hash_alg.as_str().into(),
        agent.enc_alg.as_str().into(),
        agent.sign_alg.as_str().into(),
        agent.verifier_id.as_str().into(),
        agent.verifier_ip.as_str().into(),
        agent.verifier_port.into(),
        agent.boottime.into(),
        json_column::encode_integers(&agent.ima_pcrs).into(),
        agent.pcr10.clone().into(),
        agent.next_ima_ml_entry.into(),
        json_column::encode(&agent.learned_ima_keyrings).into(),
        agent.severity_level.into(),
        agent.last_event_id.clone().into(),
        agent.supported_version.as_str().into(),
        agent.ak_tpm.as_str().into(),
        agent.mtls_cert.clone().into(),
        agent.attestation_count.into(),
        agent.last_received_quote.into(),
        agent.last_successful_attestation.into(),
        optional_json(agent.tpm_clockinfo.as_ref()),
        agent.accept_attestations.into(),
        agent.consecutive_attestation_failures.into(),
    ]
}

/// The columns of [`progress_row`], in its order.
pub(super) const PROGRESS: [Column; 20] = [
    Column::AgentId,
    Column::OperationalState,
    Column::PublicKey,
    Column::HashAlg,
    Column::EncAlg,
    Column::SignAlg,
    Column::SupportedVersion,
    Column::Boottime,
    Column::ImaPcrs,
    Column::Pcr10,
    Column::NextImaMlEntry,
    Column::LearnedImaKeyrings,
    Column::SeverityLevel,
    Column::LastEventId,
    Column::AttestationCount,
    Column::LastReceivedQuote,
    Column::LastSuccessfulAttestation,
    Column::TpmClockinfo,
    Column::AcceptAttestations,
    Column::ConsecutiveAttestationFailures,
];

/// The values that attestation changes.
pub(super) fn progress_row(progress: &AgentProgress) -> Vec<Value> {
    vec![
        progress.agent_id.as_str().into(),
        progress.operational_state.into(),
        progress.public_key.as_ref().into(),
        progress.hash_alg.as_ref().into(),
        progress.enc_alg.as_ref().into(),
        progress.sign_alg.as_ref().into(),
        progress.supported_version.as_ref().into(),
        progress.boottime.into(),
        json_column::encode_integers(&progress.ima_pcrs).into(),
        progress.pcr10.clone().into(),
        progress.next_ima_ml_entry.into(),
        json_column::encode(&progress.learned_ima_keyrings).into(),
        progress.severity_level.into(),
        progress.last_event_id.clone().into(),
        progress.attestation_count.into(),
        progress.last_received_quote.into(),
        progress.last_successful_attestation.into(),
        optional_json(progress.tpm_clockinfo.as_ref()),
        progress.accept_attestations.into(),
        progress.consecutive_attestation_failures.into(),
    ]
}

/// Turns the insertion of progress rows into an update. Every engine has a form of it, unlike updates from a list of rows;
/// the caller holds locks on the rows, so nothing is ever inserted.
pub(super) fn progress_update() -> OnConflict {
    OnConflict::column(Column::AgentId).update_columns(PROGRESS.into_iter().skip(1)).to_owned()
}

/// Agents of this verifier only, when one is named.
pub(super) fn restrict(select: &mut SelectStatement, verifier_id: Option<&str>) {
    if let Some(verifier_id) = verifier_id {
        select.and_where(Column::VerifierId.eq(verifier_id));
    }
}

fn optional_json(value: Option<&Json>) -> Value {
    value.map(json_column::encode).into()
}
