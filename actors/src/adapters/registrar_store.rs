//! The registrar's database behind [`RegistrarStore`].

use super::insert_rows::insert_rows;
use super::json_column;
use super::key_lists::{key_lists, one_of};
use super::row::Row;
use super::store_fault::{ATTEMPTS, store_error};
use crate::ports::{RegistrarStore, RegistrationOutcome, RegistrationRecord, StoreError};
use async_trait::async_trait;
use keylime_schema::database::entity::registrar_agent::{self, Column, Entity};
use keylime_schema::database::{Database, Engine, Fault};
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, LockType, Order, Query};
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbErr, IdenStatic as _, Iterable as _};
use sea_orm::{TransactionTrait as _, Value};
use std::collections::HashSet;

/// The registrar's table in an SQL database.
#[derive(Debug, Clone)]
pub struct SqlRegistrarStore {
    db: Database,
}

/// What the caller saw, and what is to be stored.
type Registration = (Option<RegistrationRecord>, RegistrationRecord);

impl SqlRegistrarStore {
    /// Uses an open database with the registrar's table.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    async fn register_together(&self, batch: &[Registration]) -> Result<Vec<RegistrationOutcome>, DbErr> {
        let transaction = self.db.begin().await?;
        let outcomes = register_in(&transaction, self.db.engine(), batch).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }

    /// Each registration behind a savepoint of its own, so that only the one that cannot be stored is refused.
    async fn register_apart(&self, batch: &[Registration]) -> Result<Vec<RegistrationOutcome>, DbErr> {
        let transaction = self.db.begin().await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for registration in batch.chunks(1) {
            let savepoint = transaction.begin().await?;
            match register_in(&savepoint, self.db.engine(), registration).await {
                Ok(outcome) => {
                    savepoint.commit().await?;
                    outcomes.extend(outcome);
                }
                Err(error) => {
                    let outcome = match Fault::of(&error) {
                        Fault::Unavailable | Fault::Contended => return Err(error),
                        Fault::Constraint => RegistrationOutcome::Conflict,
                        Fault::Data => RegistrationOutcome::Refused(error.to_string()),
                    };
                    savepoint.rollback().await?;
                    outcomes.push(outcome);
                }
            }
        }
        transaction.commit().await?;
        Ok(outcomes)
    }
}

#[async_trait]
impl RegistrarStore for SqlRegistrarStore {
    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError> {
        let select =
            Query::select().columns(Column::iter()).from(Entity).and_where(Column::AgentId.eq(agent_id)).to_owned();
        let Some(row) = self.db.reader().query_one(&select).await.map_err(|error| store_error(&error))? else {
            return Ok(None);
        };
        let record = decode(&Row::new(self.db.engine(), &row))
            .map_err(|reason| StoreError::Internal(format!("the row of agent {agent_id} cannot be read: {reason}")))?;
        // MySQL may compare ids without case.
        Ok(Some(record).filter(|record| record.agent_id == agent_id))
    }

    async fn registration_ids(&self) -> Result<Vec<String>, StoreError> {
        let select =
            Query::select().column(Column::AgentId).from(Entity).order_by(Column::AgentId, Order::Asc).to_owned();
        let rows = self.db.reader().query_all(&select).await.map_err(|error| store_error(&error))?;
        Ok(rows.iter().filter_map(|row| Row::new(self.db.engine(), row).text("agent_id").ok().flatten()).collect())
    }

    async fn register(&self, batch: Vec<Registration>) -> Result<Vec<RegistrationOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..ATTEMPTS {
            match self.register_together(&batch).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => match Fault::of(&error) {
                    Fault::Unavailable => return Err(store_error(&error)),
                    Fault::Data => break,
                    // Another process registered one of the agents; the next attempt sees it.
                    Fault::Contended | Fault::Constraint => {}
                },
            }
        }
        self.register_apart(&batch).await.map_err(|error| store_error(&error))
    }

    async fn delete(&self, agent_ids: Vec<String>) -> Result<Vec<bool>, StoreError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match delete_in(&self.db, &agent_ids).await {
                Ok(existed) => return Ok(existed),
                Err(error) if Fault::of(&error) == Fault::Contended => last = Some(error),
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(last.map_or_else(|| StoreError::Unavailable("no attempt was made".to_owned()), |error| store_error(&error)))
    }
}

/// New rows in few statements, then each changed row in one that compares what the caller saw.
async fn register_in(
    db: &DatabaseTransaction,
    engine: Engine,
    batch: &[Registration],
) -> Result<Vec<RegistrationOutcome>, DbErr> {
    let ids: Vec<&str> = batch.iter().map(|(_, new)| new.agent_id.as_str()).collect();
    let stored = existing(db, engine, &ids).await?;
    let mut taken: HashSet<&str> = stored.iter().map(String::as_str).collect();
    let mut outcomes = vec![RegistrationOutcome::Conflict; batch.len()];
    let mut insertions = Vec::new();
    let mut changes = Vec::new();
    for (index, (seen, new)) in batch.iter().enumerate() {
        match seen {
            None if taken.insert(&new.agent_id) => {
                insertions.push(values(new));
                outcomes[index] = RegistrationOutcome::Written;
            }
            None => {}
            Some(seen) if taken.contains(new.agent_id.as_str()) => changes.push((index, seen, new)),
            Some(_) => {}
        }
    }
    insert_rows(db, Entity, &WRITTEN, insertions, None).await?;
    for (index, seen, new) in changes {
        let mut update = Query::update();
        update.table(Entity).cond_where(unchanged(engine, &new.agent_id, seen));
        for (column, value) in WRITTEN.into_iter().zip(values(new)).skip(1) {
            update.value(column, value);
        }
        if db.execute(&update).await?.rows_affected() == 1 {
            outcomes[index] = RegistrationOutcome::Written;
        }
    }
    Ok(outcomes)
}

async fn delete_in(db: &Database, agent_ids: &[String]) -> Result<Vec<bool>, DbErr> {
    let transaction = db.begin().await?;
    let ids: Vec<&str> = agent_ids.iter().map(String::as_str).collect();
    let mut existing = existing(&transaction, db.engine(), &ids).await?;
    let found: Vec<&str> = existing.iter().map(String::as_str).collect();
    for list in key_lists(&found) {
        let delete =
            Query::delete().from_table(Entity).and_where(one_of(&transaction, Column::AgentId, &list)).to_owned();
        transaction.execute(&delete).await?;
    }
    transaction.commit().await?;
    Ok(agent_ids.iter().map(|id| existing.remove(id)).collect())
}

/// Which of the ids have a row; the rows are locked, in the order of their ids so that two processes do not deadlock.
async fn existing(db: &DatabaseTransaction, engine: Engine, ids: &[&str]) -> Result<HashSet<String>, DbErr> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found = HashSet::new();
    for list in key_lists(&sorted) {
        let select = Query::select()
            .column(Column::AgentId)
            .from(registrar_agent::Entity)
            .and_where(one_of(db, Column::AgentId, &list))
            .order_by(Column::AgentId, Order::Asc)
            .lock(LockType::Update)
            .to_owned();
        for row in db.query_all(&select).await? {
            // MySQL may compare ids without case; only the very id counts.
            let id = Row::new(engine, &row).text("agent_id").ok().flatten();
            found.extend(id.filter(|id| sorted.binary_search(&id.as_str()).is_ok()));
        }
    }
    Ok(found)
}

/// That a row still has the identity the caller saw (CVE-2025-13609).
fn unchanged(engine: Engine, agent_id: &str, seen: &RegistrationRecord) -> Condition {
    let regcount = Column::Regcount.eq(seen.regcount);
    Condition::all()
        .add(Column::AgentId.eq(agent_id))
        .add(same_text(engine, Column::AgentId, Some(agent_id)))
        .add(same_text(engine, Column::EkTpm, seen.ek_tpm.as_deref()))
        .add(same_text(engine, Column::Ekcert, seen.ekcert.as_deref()))
        .add(same_text(engine, Column::AikTpm, seen.aik_tpm.as_deref()))
        // An absent count reads as 0.
        .add(if seen.regcount == 0 { regcount.or(Column::Regcount.is_null()) } else { regcount })
}

/// Byte by byte: MySQL's usual comparison ignores case and trailing spaces, and base64 differs in case.
fn same_text(engine: Engine, column: Column, value: Option<&str>) -> Expr {
    match (value, engine) {
        (None, _) => column.is_null(),
        (Some(value), Engine::Sqlite | Engine::Postgres) => column.eq(value),
        (Some(value), Engine::MySql) => Expr::col(column).cast_as("BINARY").eq(Expr::val(value.as_bytes().to_vec())),
    }
}

/// The columns of [`values`], in its order.
const WRITTEN: [Column; 16] = [
    Column::AgentId,
    Column::Key,
    Column::AikTpm,
    Column::EkTpm,
    Column::Ekcert,
    Column::IakTpm,
    Column::IakCert,
    Column::IdevidTpm,
    Column::IdevidCert,
    Column::MtlsCert,
    Column::Ip,
    Column::Port,
    Column::Regcount,
    Column::Active,
    Column::IsVirtual,
    Column::ProviderKeys,
];

fn values(record: &RegistrationRecord) -> Vec<Value> {
    vec![
        record.agent_id.as_str().into(),
        record.key.clone().into(),
        record.aik_tpm.clone().into(),
        record.ek_tpm.clone().into(),
        record.ekcert.clone().into(),
        record.iak_tpm.clone().into(),
        record.iak_cert.clone().into(),
        record.idevid_tpm.clone().into(),
        record.idevid_cert.clone().into(),
        record.mtls_cert.clone().into(),
        record.ip.clone().into(),
        record.port.into(),
        record.regcount.into(),
        record.active.into(),
        record.is_virtual.into(),
        record.provider_keys.as_ref().map(json_column::encode).into(),
    ]
}

fn decode(row: &Row<'_>) -> Result<RegistrationRecord, String> {
    let text = |column: Column| row.text(column.as_str());
    // Nothing depends on the provider's keys any more, so their form never keeps a row from being read (CVE-2025-1057).
    let provider_keys = json_column::decode(text(Column::ProviderKeys)?.as_deref()).ok();
    Ok(RegistrationRecord {
        agent_id: text(Column::AgentId)?.ok_or("agent_id is missing")?,
        key: text(Column::Key)?,
        aik_tpm: text(Column::AikTpm)?,
        ek_tpm: text(Column::EkTpm)?,
        ekcert: text(Column::Ekcert)?,
        iak_tpm: text(Column::IakTpm)?,
        iak_cert: text(Column::IakCert)?,
        idevid_tpm: text(Column::IdevidTpm)?,
        idevid_cert: text(Column::IdevidCert)?,
        mtls_cert: text(Column::MtlsCert)?,
        ip: text(Column::Ip)?,
        port: row.small_integer(Column::Port.as_str())?,
        regcount: row.small_integer(Column::Regcount.as_str())?.unwrap_or_default(),
        active: row.flag(Column::Active.as_str())?.unwrap_or_default(),
        is_virtual: row.flag(Column::IsVirtual.as_str())?,
        provider_keys: provider_keys.filter(|keys| !keys.is_null()),
    })
}
