//! The verifier's database behind [`VerifierStore`].

use super::policy_rows::{self, BootPolicies, NewPolicy, PolicyTable, RuntimePolicies};
use super::row::Row;
use super::store_fault::{ATTEMPTS, beyond_packet, store_error};
use super::{agent_columns, attestation_rows, explanation_rows, outbox_rows, verifier_write};
use crate::ports::{
    AgentPage, AgentRecord, BootPolicyRecord, NewBootPolicy, NewRuntimePolicy, OutboxRow, PolicyStoreError,
    RuntimePolicyRecord, StatedPolicies, StoreError, VerifierStore, VerifierWrite, WriteOutcome,
};
use async_trait::async_trait;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::verdict::Explanation;
use keylime_schema::database::entity::verifier_agent::{self, Column};
use keylime_schema::database::{Database, Fault};
use sea_orm::sea_query::{Order, Query, SelectStatement};
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, DbErr};

/// Most agents in one page, whatever the caller asks for.
const MAX_PAGE: u64 = 10_000;

/// The verifier's tables in an SQL database.
#[derive(Debug, Clone)]
pub struct SqlVerifierStore {
    db: Database,
}

/// A change of one policy.
enum PolicyChange<'a, P: PolicyTable> {
    Create(&'a P::New),
    Replace(&'a P::New),
    Delete(&'a str),
}

impl<P: PolicyTable> PolicyChange<'_, P> {
    fn name(&self) -> &str {
        match self {
            Self::Create(policy) | Self::Replace(policy) => policy.name(),
            Self::Delete(name) => name,
        }
    }
}

impl SqlVerifierStore {
    /// Uses an open database with the verifier's tables.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    async fn policy<P: PolicyTable>(&self, select: SelectStatement) -> Result<Option<P::Record>, StoreError> {
        let Some(row) = self.db.reader().query_one(&select).await.map_err(|error| store_error(&error))? else {
            return Ok(None);
        };
        P::decode(&Row::new(self.db.engine(), &row)).map(Some).map_err(StoreError::Internal)
    }

    async fn policy_by_id<P: PolicyTable>(&self, id: i32) -> Result<Option<P::Record>, StoreError> {
        self.policy::<P>(policy_rows::select::<P>().and_where(P::ID.eq(id)).to_owned()).await
    }

    async fn policy_by_name<P: PolicyTable>(&self, name: &str) -> Result<Option<P::Record>, StoreError> {
        let exact = policy_rows::ids::<P, _>(self.db.reader(), self.db.engine(), &[name])
            .await
            .map_err(|error| store_error(&error))?;
        match exact.get(name) {
            Some(id) => self.policy_by_id::<P>(*id).await,
            None => Ok(None),
        }
    }

    async fn policy_names<P: PolicyTable>(&self) -> Result<Vec<String>, StoreError> {
        let select = Query::select().column(P::NAME).from(P::entity()).order_by(P::ID, Order::Asc).to_owned();
        let rows = self.db.reader().query_all(&select).await.map_err(|error| store_error(&error))?;
        Ok(rows.iter().filter_map(|row| Row::new(self.db.engine(), row).text("name").ok().flatten()).collect())
    }

    /// Changes a policy; runs the transaction again while it loses against others. Answers the agents that use it.
    async fn change_policy<P: PolicyTable>(
        &self,
        change: PolicyChange<'_, P>,
    ) -> Result<Vec<AgentId>, PolicyStoreError> {
        let limit = self.db.largest_row();
        if let PolicyChange::Create(policy) | PolicyChange::Replace(policy) = &change
            && policy.text_bytes() > limit
        {
            let bytes = policy.text_bytes();
            return Err(StoreError::TooLong(beyond_packet(bytes)).into());
        }
        let mut tries = 1;
        loop {
            match self.try_change_policy(&change).await {
                // An id that is none belongs to a row that is reported as bad wherever agents are read.
                Ok(Ok(users)) => return Ok(users.iter().filter_map(|id| AgentId::parse(id).ok()).collect()),
                Ok(Err(refusal)) => return Err(refusal),
                Err(error) => match Fault::of(&error) {
                    Fault::Contended | Fault::Constraint if tries < ATTEMPTS => tries += 1,
                    Fault::Contended | Fault::Constraint | Fault::Unavailable | Fault::Data => {
                        return Err(store_error(&error).into());
                    }
                },
            }
        }
    }

    async fn try_change_policy<P: PolicyTable>(
        &self,
        change: &PolicyChange<'_, P>,
    ) -> Result<Result<Vec<String>, PolicyStoreError>, DbErr> {
        let engine = self.db.engine();
        let transaction = self.db.begin().await?;
        let stored = policy_rows::locked_id::<P, _>(&transaction, engine, change.name()).await?;
        let users = match (change, stored) {
            (PolicyChange::Create(_), Some(_)) => return Ok(Err(PolicyStoreError::Exists)),
            (PolicyChange::Replace(_) | PolicyChange::Delete(_), None) => return Ok(Err(PolicyStoreError::Missing)),
            (PolicyChange::Create(policy), None) => {
                policy_rows::insert::<P, _>(&transaction, vec![policy]).await?;
                Vec::new()
            }
            (PolicyChange::Replace(policy), Some(id)) => {
                policy_rows::replace::<P, _>(&transaction, id, policy).await?;
                policy_rows::users::<P, _>(&transaction, engine, id, None).await?
            }
            (PolicyChange::Delete(_), Some(id)) => {
                if let Some(user) = policy_rows::users::<P, _>(&transaction, engine, id, Some(1)).await?.pop() {
                    return Ok(Err(PolicyStoreError::InUse(user)));
                }
                policy_rows::delete::<P, _>(&transaction, id).await?;
                Vec::new()
            }
        };
        transaction.commit().await?;
        Ok(Ok(users))
    }
}

#[async_trait]
impl VerifierStore for SqlVerifierStore {
    async fn agents_page(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<AgentPage, StoreError> {
        let limit = limit.min(MAX_PAGE);
        let mut select = agent_columns::select();
        agent_columns::restrict(&mut select, verifier_id);
        if let Some(after) = after {
            select.and_where(Column::AgentId.gt(after));
        }
        select.order_by(Column::AgentId, Order::Asc).limit(limit);
        let rows = self.db.reader().query_all(&select).await.map_err(|error| store_error(&error))?;
        let more = limit > 0 && rows.len() as u64 == limit;
        let mut page = AgentPage::default();
        let mut unreadable = Vec::new();
        let mut last = None;
        for row in &rows {
            let row = Row::new(self.db.engine(), row);
            let id = row.text("agent_id").ok().flatten();
            match (agent_columns::decode(&row), &id) {
                (Ok(agent), _) => page.agents.push(agent),
                (Err(bad), Some(_)) => page.bad.push(bad),
                (Err(bad), None) => unreadable.push(bad),
            }
            last = id.or(last);
        }
        page.next = last.filter(|_| more);
        // An id that is no text has no successor to go on from; SQLite sorts such ids behind all texts, so the last page
        // has them all.
        if page.next.is_none() {
            page.bad.append(&mut unreadable);
        }
        Ok(page)
    }

    async fn agent(&self, agent_id: &str) -> Result<Option<AgentRecord>, StoreError> {
        let mut select = agent_columns::select();
        select.and_where(Column::AgentId.eq(agent_id));
        let Some(row) = self.db.reader().query_one(&select).await.map_err(|error| store_error(&error))? else {
            return Ok(None);
        };
        match agent_columns::decode(&Row::new(self.db.engine(), &row)) {
            // MySQL may compare ids without case.
            Ok(agent) => Ok(Some(agent).filter(|agent| agent.agent_id.as_str() == agent_id)),
            Err((id, reason)) => Err(StoreError::Internal(format!("the row of agent {id} cannot be read: {reason}"))),
        }
    }

    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut select = Query::select();
        select.column(Column::AgentId).from(verifier_agent::Entity).order_by(Column::AgentId, Order::Asc);
        agent_columns::restrict(&mut select, verifier_id);
        let rows = self.db.reader().query_all(&select).await.map_err(|error| store_error(&error))?;
        Ok(rows.iter().filter_map(|row| Row::new(self.db.engine(), row).text("agent_id").ok().flatten()).collect())
    }

    async fn write(&self, batch: Vec<VerifierWrite>) -> Result<Vec<WriteOutcome>, StoreError> {
        verifier_write::write(&self.db, &batch).await
    }

    async fn runtime_policy_by_id(&self, id: i32) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        self.policy_by_id::<RuntimePolicies>(id).await
    }

    async fn runtime_policy(&self, name: &str) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        self.policy_by_name::<RuntimePolicies>(name).await
    }

    async fn runtime_policy_names(&self) -> Result<Vec<String>, StoreError> {
        self.policy_names::<RuntimePolicies>().await
    }

    async fn create_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<(), PolicyStoreError> {
        self.change_policy::<RuntimePolicies>(PolicyChange::Create(&policy)).await.map(|_| ())
    }

    async fn update_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        self.change_policy::<RuntimePolicies>(PolicyChange::Replace(&policy)).await
    }

    async fn delete_runtime_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.change_policy::<RuntimePolicies>(PolicyChange::Delete(name)).await.map(|_| ())
    }

    async fn boot_policy_by_id(&self, id: i32) -> Result<Option<BootPolicyRecord>, StoreError> {
        self.policy_by_id::<BootPolicies>(id).await
    }

    async fn boot_policy(&self, name: &str) -> Result<Option<BootPolicyRecord>, StoreError> {
        self.policy_by_name::<BootPolicies>(name).await
    }

    async fn boot_policy_names(&self) -> Result<Vec<String>, StoreError> {
        self.policy_names::<BootPolicies>().await
    }

    async fn create_boot_policy(&self, policy: NewBootPolicy) -> Result<(), PolicyStoreError> {
        self.change_policy::<BootPolicies>(PolicyChange::Create(&policy)).await.map(|_| ())
    }

    async fn update_boot_policy(&self, policy: NewBootPolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        self.change_policy::<BootPolicies>(PolicyChange::Replace(&policy)).await
    }

    async fn delete_boot_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.change_policy::<BootPolicies>(PolicyChange::Delete(name)).await.map(|_| ())
    }

    async fn stated_policies(&self, runtime: &[i32], boot: &[i32]) -> Result<StatedPolicies, StoreError> {
        let (reader, engine) = (self.db.reader(), self.db.engine());
        let runtime = policy_rows::stated::<RuntimePolicies, _>(reader, engine, runtime);
        let runtime = runtime.await.map_err(|error| store_error(&error))?;
        let boot = policy_rows::stated::<BootPolicies, _>(reader, engine, boot);
        let boot = boot.await.map_err(|error| store_error(&error))?;
        Ok(StatedPolicies { runtime, boot })
    }

    async fn attestation_summaries(&self, agent_ids: &[&str]) -> Result<Vec<(AgentId, StoredAttestation)>, StoreError> {
        attestation_rows::summaries(self.db.reader(), self.db.engine(), agent_ids)
            .await
            .map_err(|error| store_error(&error))
    }

    async fn attestations(&self, agent_id: &str, limit: u64) -> Result<Vec<Attestation>, StoreError> {
        attestation_rows::newest(self.db.reader(), self.db.engine(), agent_id, limit)
            .await
            .map_err(|error| store_error(&error))
    }

    async fn attestation(&self, agent_id: &str, index: AttestationIndex) -> Result<Option<Attestation>, StoreError> {
        attestation_rows::one(self.db.reader(), self.db.engine(), (agent_id, index))
            .await
            .map_err(|error| store_error(&error))
    }

    async fn explanations(&self, agent_id: &str) -> Result<Vec<Explanation>, StoreError> {
        explanation_rows::read(self.db.reader(), agent_id).await.map_err(|error| store_error(&error))
    }

    async fn outbox_pending(&self, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        outbox_rows::pending(self.db.reader(), None, limit.min(MAX_PAGE)).await.map_err(|error| store_error(&error))
    }

    async fn outbox_pending_for(&self, notifier: &str, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        outbox_rows::pending(self.db.reader(), Some(notifier), limit.min(MAX_PAGE))
            .await
            .map_err(|error| store_error(&error))
    }
}
