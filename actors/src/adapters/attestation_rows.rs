//! The tables `attestations` and `evidence_items` (`verifier-db.md` §3): attestations of push agents, in the form Keylime's
//! own services read.

use super::evidence_columns::{self, decode_item, item_row};
use super::insert_rows::{groups_by_bytes, insert_rows};
use super::key_lists::{key_lists, one_of};
use super::row::Row;
use keylime_engine::evidence::attestation::{
    Attestation, AttestationIndex, AttestationItem, ItemData, Stage, WallMicros,
};
use keylime_engine::evidence::capabilities::EvidenceType;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_schema::database::Engine;
use keylime_schema::database::entity::{attestation, evidence_item};
use keylime_schema::wire::v3::timestamp::UtcMicros;
use sea_orm::sea_query::{Cond, ExprTrait as _, OnConflict, Order, Query};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, IdenStatic as _, Value};
use std::collections::HashMap;

const COLUMNS: [attestation::Column; 10] = [
    attestation::Column::AgentId,
    attestation::Column::Index,
    attestation::Column::Stage,
    attestation::Column::Evaluation,
    attestation::Column::FailureReason,
    attestation::Column::SystemInfoBootTime,
    attestation::Column::CapabilitiesReceivedAt,
    attestation::Column::ChallengesExpireAt,
    attestation::Column::EvidenceReceivedAt,
    attestation::Column::VerificationCompletedAt,
];

/// The columns that a verdict changes.
const JUDGED: [attestation::Column; 4] = [
    attestation::Column::Stage,
    attestation::Column::Evaluation,
    attestation::Column::FailureReason,
    attestation::Column::VerificationCompletedAt,
];

/// Keys in one condition.
const KEYS_PER_STATEMENT: usize = 64;

/// An attestation of an agent.
pub(super) type Key<'a> = (&'a str, AttestationIndex);

/// Inserts attestations, or changes what a verdict changes of those that are there.
pub(super) async fn upsert<C: ConnectionTrait>(db: &C, rows: &[(&str, &Attestation)]) -> Result<(), DbErr> {
    let rows = rows.iter().map(|(agent_id, attestation)| attestation_row(agent_id, attestation)).collect();
    let update = OnConflict::columns([attestation::Column::AgentId, attestation::Column::Index])
        .update_columns(JUDGED)
        .to_owned();
    insert_rows(db, attestation::Entity, &COLUMNS, rows, Some(&update)).await
}

/// Inserts the evidence of attestations, in statements that servers take whatever the length of the logs.
pub(super) async fn insert_evidence<C: ConnectionTrait>(db: &C, rows: &[(&str, &Attestation)]) -> Result<(), DbErr> {
    let items = rows
        .iter()
        .flat_map(|(agent_id, attestation)| attestation.items.iter().map(|item| (*agent_id, attestation.index, item)))
        .collect();
    for group in groups_by_bytes(items, |(_, _, item)| evidence_bytes(item)) {
        let rows = group.into_iter().map(|(agent_id, index, item)| item_row(agent_id, index, item)).collect();
        insert_rows(db, evidence_item::Entity, &evidence_columns::COLUMNS, rows, None).await?;
    }
    Ok(())
}

/// What makes a row of evidence long.
pub(super) fn evidence_bytes(item: &AttestationItem) -> usize {
    match &item.data {
        Some(ItemData::Log(log)) => log.entries.len(),
        Some(ItemData::Quote(quote)) => quote.subject_data.len() + quote.message.len() + quote.signature.len(),
        None => 0,
    }
}

/// Stores how far a measurement list was certified.
pub(super) async fn certify<C: ConnectionTrait>(db: &C, agent_id: &str, judged: &Attestation) -> Result<(), DbErr> {
    let certified = judged.item(EvidenceType::ImaLog).and_then(|item| item.certified_entries);
    let Some(certified) = certified else { return Ok(()) };
    let update = Query::update()
        .table(evidence_item::Entity)
        .value(evidence_item::Column::ResultsCertifiedEntryCount, i32::try_from(certified).unwrap_or(i32::MAX))
        .and_where(evidence_item::Column::AgentId.eq(agent_id))
        .and_where(evidence_item::Column::AttestationIndex.eq(number(judged.index)))
        .and_where(evidence_item::Column::EvidenceType.eq(EvidenceType::ImaLog.name()))
        .to_owned();
    db.execute(&update).await.map(|_| ())
}

/// Deletes attestations with their evidence.
pub(super) async fn delete<C: ConnectionTrait>(db: &C, keys: &[Key<'_>]) -> Result<(), DbErr> {
    delete_evidence(db, keys).await?;
    for keys in keys.chunks(KEYS_PER_STATEMENT) {
        let condition = keys.iter().fold(Cond::any(), |any, (agent_id, index)| {
            any.add(attestation::Column::AgentId.eq(*agent_id).and(attestation::Column::Index.eq(number(*index))))
        });
        let statement = Query::delete().from_table(attestation::Entity).cond_where(condition).to_owned();
        db.execute(&statement).await?;
    }
    Ok(())
}

/// Deletes the evidence of attestations.
pub(super) async fn delete_evidence<C: ConnectionTrait>(db: &C, keys: &[Key<'_>]) -> Result<(), DbErr> {
    for keys in keys.chunks(KEYS_PER_STATEMENT) {
        let condition = keys.iter().fold(Cond::any(), |any, (agent_id, index)| {
            any.add(
                evidence_item::Column::AgentId
                    .eq(*agent_id)
                    .and(evidence_item::Column::AttestationIndex.eq(number(*index))),
            )
        });
        let statement = Query::delete().from_table(evidence_item::Entity).cond_where(condition).to_owned();
        db.execute(&statement).await?;
    }
    Ok(())
}

/// What is stored of the attestations of these agents. A row that cannot be read is left out: its agent's measurement list
/// is then asked for from its start.
pub(super) async fn summaries<C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    agent_ids: &[&str],
) -> Result<Vec<(AgentId, StoredAttestation)>, DbErr> {
    let mut found = Vec::new();
    for list in key_lists(agent_ids) {
        let select = Query::select()
            .columns(COLUMNS)
            .from(attestation::Entity)
            .and_where(one_of(db, attestation::Column::AgentId, &list))
            .to_owned();
        for row in db.query_all(&select).await? {
            match decode(&Row::new(engine, &row)) {
                Ok((agent_id, Attestation { index, stage, boot_time, evidence_received, .. })) => {
                    found.push((agent_id, StoredAttestation { index, stage, boot_time, evidence_received }));
                }
                Err(reason) => unreadable(&reason),
            }
        }
    }
    Ok(found)
}

/// The newest attestations of an agent with their evidence, newest first.
pub(super) async fn newest<C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    agent_id: &str,
    limit: u64,
) -> Result<Vec<Attestation>, DbErr> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(attestation::Entity)
        .and_where(attestation::Column::AgentId.eq(agent_id))
        .order_by(attestation::Column::Index, Order::Desc)
        .limit(limit)
        .to_owned();
    with_evidence(db, engine, agent_id, db.query_all(&select).await?).await
}

/// One attestation with its evidence.
pub(super) async fn one<C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    (agent_id, index): Key<'_>,
) -> Result<Option<Attestation>, DbErr> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(attestation::Entity)
        .and_where(attestation::Column::AgentId.eq(agent_id))
        .and_where(attestation::Column::Index.eq(number(index)))
        .to_owned();
    let rows = db.query_all(&select).await?;
    Ok(with_evidence(db, engine, agent_id, rows).await?.pop())
}

async fn with_evidence<C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    agent_id: &str,
    rows: Vec<sea_orm::QueryResult>,
) -> Result<Vec<Attestation>, DbErr> {
    let mut attestations = Vec::with_capacity(rows.len());
    for row in &rows {
        match decode(&Row::new(engine, row)) {
            // MySQL may compare ids without case.
            Ok((owner, attestation)) if owner.as_str() == agent_id => attestations.push(attestation),
            Ok(_) => {}
            Err(reason) => unreadable(&reason),
        }
    }
    let (Some(newest), Some(oldest)) = (attestations.first(), attestations.last()) else { return Ok(attestations) };
    let select = Query::select()
        .columns(evidence_columns::COLUMNS)
        .from(evidence_item::Entity)
        .and_where(evidence_item::Column::AgentId.eq(agent_id))
        .and_where(evidence_item::Column::AttestationIndex.between(number(oldest.index), number(newest.index)))
        .order_by(evidence_item::Column::Id, Order::Asc)
        .to_owned();
    let mut items: HashMap<AttestationIndex, Vec<AttestationItem>> = HashMap::new();
    for row in db.query_all(&select).await? {
        match decode_item(&Row::new(engine, &row)) {
            Ok((index, item)) => items.entry(index).or_default().push(item),
            Err(reason) => unreadable(&reason),
        }
    }
    for attestation in &mut attestations {
        attestation.items = items.remove(&attestation.index).unwrap_or_default();
    }
    Ok(attestations)
}

fn unreadable(reason: &str) {
    metrics::counter!("keylime_verifier_bad_rows_total").increment(1);
    tracing::error!(target: "keylime.verifier", reason, "a stored attestation cannot be read and is skipped");
}

fn attestation_row(agent_id: &str, attestation: &Attestation) -> Vec<Value> {
    // The column must not be empty; an agent that named no boot time has the one of the epoch, which is never a boot.
    let boot_time = UtcMicros::from_micros(attestation.boot_time.unwrap_or(0)).to_string();
    vec![
        agent_id.into(),
        number(attestation.index).into(),
        attestation.stage.name().into(),
        attestation.stage.evaluation_name().into(),
        attestation.stage.failure_reason().map(|reason| reason.name()).into(),
        boot_time.into(),
        time(attestation.capabilities_received).into(),
        attestation.challenges_expire.map(time).into(),
        attestation.evidence_received.map(time).into(),
        attestation.verification_completed.map(time).into(),
    ]
}

fn decode(row: &Row<'_>) -> Result<(AgentId, Attestation), String> {
    let text = |column: attestation::Column| row.text(column.as_str());
    let id = text(attestation::Column::AgentId)?.unwrap_or_default();
    let index = row.integer(attestation::Column::Index.as_str())?;
    let index = index.and_then(|index| u32::try_from(index).ok()).ok_or("index is no index")?;
    let stage = text(attestation::Column::Stage)?.unwrap_or_default();
    let evaluation = text(attestation::Column::Evaluation)?.unwrap_or_default();
    let reason = text(attestation::Column::FailureReason)?;
    let moment = |column: attestation::Column| -> Result<Option<WallMicros>, String> {
        let parse = |text: String| UtcMicros::parse(&text).map(|time| WallMicros(time.micros()));
        text(column)?.map(parse).transpose().map_err(|error| format!("{}: {error}", column.as_str()))
    };
    let boot_time = moment(attestation::Column::SystemInfoBootTime)?;
    Ok((
        AgentId::parse(&id).map_err(|error| error.to_string())?,
        Attestation {
            index: AttestationIndex(index),
            stage: Stage::from_names(&stage, &evaluation, reason.as_deref())
                .ok_or_else(|| format!("stage {stage:?} with evaluation {evaluation:?} is unknown"))?,
            boot_time: boot_time.map(|time| time.0).filter(|micros| *micros != 0),
            capabilities_received: moment(attestation::Column::CapabilitiesReceivedAt)?.unwrap_or_default(),
            challenges_expire: moment(attestation::Column::ChallengesExpireAt)?,
            evidence_received: moment(attestation::Column::EvidenceReceivedAt)?,
            verification_completed: moment(attestation::Column::VerificationCompletedAt)?,
            items: Vec::new(),
        },
    ))
}

fn time(WallMicros(micros): WallMicros) -> String {
    UtcMicros::from_micros(micros).to_string()
}

pub(super) fn number(index: AttestationIndex) -> i32 {
    i32::try_from(index.0).unwrap_or(i32::MAX)
}
