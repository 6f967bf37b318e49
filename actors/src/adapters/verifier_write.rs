//! Applies batches of writes to the verifier's database: one transaction, few statements, one outcome per write.
//!
//! What a write depends on is read first, with locks on servers, and the outcomes follow from it in memory; so that no
//! statement is expected to fail, which would end the transaction on PostgreSQL. Where another process interfered after
//! all, the transaction runs again. Where a row cannot be stored, each write runs alone, so that only that one is refused.

use super::insert_rows::insert_rows;
use super::key_lists::{key_lists, one_of};
use super::policy_rows::{self, BootPolicies, NewPolicy, PolicyTable, RuntimePolicies, choice_name};
use super::row::Row;
use super::store_fault::{ATTEMPTS, beyond_packet, store_error};
use super::write_wave::{Wave, waves};
use super::{agent_columns, amendment_rows, attestation_rows, explanation_rows, outbox_rows};
use crate::ports::{
    AgentProgress, AgentRecord, ExplanationChange, OutboxRow, PolicyChoice, StoreError, VerifierWrite, WriteOutcome,
};
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::lifecycle::Occurrence;
use keylime_engine::lifecycle::operational_state::OperationalState;
use keylime_schema::database::entity::verifier_agent::{self, Column};
use keylime_schema::database::entity::{attestation, evidence_item};
use keylime_schema::database::{Database, Engine, Fault};
use sea_orm::sea_query::{LockType, Order, Query};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, TransactionTrait as _};
use std::collections::{BTreeMap, HashMap, HashSet};

/// See [`crate::ports::VerifierStore::write`].
pub(super) async fn write(db: &Database, batch: &[VerifierWrite]) -> Result<Vec<WriteOutcome>, StoreError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let limit = db.largest_row();
    if batch.iter().all(|write| longest_row(write) <= limit) {
        return write_all(db, batch).await;
    }
    // What is too long is refused without a try, which would cost all others their connection.
    let (mut outcomes, mut fitting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for write in batch {
        let bytes = longest_row(write);
        outcomes.push((bytes > limit).then(|| WriteOutcome::Refused(beyond_packet(bytes))));
        if bytes <= limit {
            fitting.push(write.clone());
        }
    }
    let mut written = write_all(db, &fitting).await?.into_iter();
    let gone = || WriteOutcome::Refused("the write has no outcome".to_owned());
    Ok(outcomes.into_iter().map(|refused| refused.or_else(|| written.next()).unwrap_or_else(gone)).collect())
}

/// Bytes of the longest row that a write makes, without its short columns.
fn longest_row(write: &VerifierWrite) -> usize {
    fn policy<N: NewPolicy>(choice: &PolicyChoice<N>) -> usize {
        match choice {
            PolicyChoice::Stored(_) => 0,
            PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy) => {
                policy.text_bytes()
            }
        }
    }
    match write {
        VerifierWrite::Enrol { runtime_policy, boot_policy, .. } => policy(runtime_policy).max(policy(boot_policy)),
        VerifierWrite::Amend { changes, .. } => {
            let runtime = changes.runtime_policy.as_ref().map_or(0, policy);
            runtime.max(changes.boot_policy.as_ref().map_or(0, policy))
        }
        VerifierWrite::ReceiveEvidence { attestation, .. } => {
            attestation.items.iter().map(attestation_rows::evidence_bytes).max().unwrap_or(0)
        }
        VerifierWrite::Progress { .. }
        | VerifierWrite::Conclude { .. }
        | VerifierWrite::SetState { .. }
        | VerifierWrite::Delete { .. }
        | VerifierWrite::DiscardAttestation { .. }
        | VerifierWrite::OutboxDelivered { .. } => 0,
    }
}

async fn write_all(db: &Database, batch: &[VerifierWrite]) -> Result<Vec<WriteOutcome>, StoreError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match write_together(db, batch).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) => match Fault::of(&error) {
                Fault::Unavailable => return Err(store_error(&error)),
                Fault::Data => return write_apart(db, batch).await.map_err(|error| store_error(&error)),
                Fault::Contended | Fault::Constraint => last = Some(error),
            },
        }
    }
    match last {
        Some(error) if Fault::of(&error) == Fault::Contended => Err(store_error(&error)),
        _ => write_apart(db, batch).await.map_err(|error| store_error(&error)),
    }
}

async fn write_together(db: &Database, batch: &[VerifierWrite]) -> Result<Vec<WriteOutcome>, DbErr> {
    let transaction = db.begin().await?;
    let outcomes = Writer { db: &transaction, engine: db.engine(), batch }.run().await?;
    transaction.commit().await?;
    Ok(outcomes)
}

/// Each write behind a savepoint of its own.
async fn write_apart(db: &Database, batch: &[VerifierWrite]) -> Result<Vec<WriteOutcome>, DbErr> {
    let transaction = db.begin().await?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for write in batch.chunks(1) {
        let savepoint = transaction.begin().await?;
        match (Writer { db: &savepoint, engine: db.engine(), batch: write }).run().await {
            Ok(outcome) => {
                savepoint.commit().await?;
                outcomes.extend(outcome);
            }
            Err(error) => match Fault::of(&error) {
                Fault::Unavailable | Fault::Contended => return Err(error),
                Fault::Constraint | Fault::Data => {
                    savepoint.rollback().await?;
                    outcomes.push(WriteOutcome::Refused(error.to_string()));
                }
            },
        }
    }
    transaction.commit().await?;
    Ok(outcomes)
}

/// `operational_state` by agent, of the agents that exist.
type States = HashMap<String, Option<i32>>;

struct Writer<'a> {
    db: &'a DatabaseTransaction,
    engine: Engine,
    batch: &'a [VerifierWrite],
}

/// An enrolment that is carried out: position in the batch and the names of its policies.
struct Accepted<'a> {
    index: usize,
    agent: &'a AgentRecord,
    runtime_policy: &'a str,
    boot_policy: &'a str,
}

/// What an enrolment's choice of a policy comes to.
enum Resolved<'a, N> {
    Use,
    Store(&'a N),
    Exists,
    Missing,
}

impl<'a> Writer<'a> {
    async fn run(&self) -> Result<Vec<WriteOutcome>, DbErr> {
        let mut outcomes = vec![WriteOutcome::Written; self.batch.len()];
        for wave in waves(self.batch) {
            let mut states = self.states(&wave).await?;
            self.enrol(&wave.enrol, &mut states, &mut outcomes).await?;
            self.amend(&wave.amend, &states, &mut outcomes).await?;
            self.receive(&wave.receive, &states, &mut outcomes).await?;
            self.progress(&wave.progress, &mut states, &mut outcomes).await?;
            self.discard(&wave.discard, &states, &mut outcomes).await?;
            self.set_states(&wave.set_state, &mut states, &mut outcomes).await?;
            self.delete(&wave.delete, &mut states, &mut outcomes).await?;
            self.delivered(&wave.delivered).await?;
        }
        Ok(outcomes)
    }

    /// Reads and locks the agents of a wave, in the order of their ids so that two processes do not deadlock.
    async fn states(&self, wave: &Wave) -> Result<States, DbErr> {
        let mut ids: Vec<&str> =
            [&wave.enrol, &wave.amend, &wave.receive, &wave.progress, &wave.discard, &wave.set_state, &wave.delete]
                .into_iter()
                .flatten()
                .filter_map(|index| agent_of(&self.batch[*index]))
                .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut states = States::with_capacity(ids.len());
        for list in key_lists(&ids) {
            let select = Query::select()
                .columns([Column::AgentId, Column::OperationalState])
                .from(verifier_agent::Entity)
                .and_where(one_of(self.db, Column::AgentId, &list))
                .order_by(Column::AgentId, Order::Asc)
                .lock(LockType::Update)
                .to_owned();
            for row in self.db.query_all(&select).await? {
                let row = Row::new(self.engine, &row);
                if let Ok(Some(id)) = row.text("agent_id") {
                    states.insert(id, row.small_integer("operational_state").ok().flatten());
                }
            }
        }
        Ok(states)
    }

    async fn enrol(&self, indexes: &[usize], states: &mut States, outcomes: &mut [WriteOutcome]) -> Result<(), DbErr> {
        let enrolments: Vec<_> = indexes
            .iter()
            .filter_map(|index| match &self.batch[*index] {
                VerifierWrite::Enrol { agent, runtime_policy, boot_policy } => {
                    Some((*index, agent.as_ref(), runtime_policy, boot_policy))
                }
                VerifierWrite::Progress { .. }
                | VerifierWrite::Amend { .. }
                | VerifierWrite::SetState { .. }
                | VerifierWrite::Delete { .. }
                | VerifierWrite::ReceiveEvidence { .. }
                | VerifierWrite::Conclude { .. }
                | VerifierWrite::DiscardAttestation { .. }
                | VerifierWrite::OutboxDelivered { .. } => None,
            })
            .collect();
        if enrolments.is_empty() {
            return Ok(());
        }
        let runtime_names: Vec<&str> = unique(enrolments.iter().map(|(_, _, choice, _)| choice_name(choice)));
        let boot_names: Vec<&str> = unique(enrolments.iter().map(|(_, _, _, choice)| choice_name(choice)));
        let runtime_ids = policy_rows::ids::<RuntimePolicies, _>(self.db, self.engine, &runtime_names).await?;
        let boot_ids = policy_rows::ids::<BootPolicies, _>(self.db, self.engine, &boot_names).await?;
        let mut runtime_known: HashSet<&str> = runtime_ids.keys().map(String::as_str).collect();
        let mut boot_known: HashSet<&str> = boot_ids.keys().map(String::as_str).collect();
        let (mut new_runtime, mut new_boot, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
        for (index, agent, runtime_choice, boot_choice) in enrolments {
            let (runtime, boot) = (resolve(runtime_choice, &runtime_known), resolve(boot_choice, &boot_known));
            if let Some(refusal) =
                refusal(&runtime, &boot, choice_name(runtime_choice), choice_name(boot_choice), || {
                    states.contains_key(agent.agent_id.as_str())
                })
            {
                outcomes[index] = refusal;
                continue;
            }
            if let Resolved::Store(policy) = runtime {
                new_runtime.push(policy);
                runtime_known.insert(policy.name());
            }
            if let Resolved::Store(policy) = boot {
                new_boot.push(policy);
                boot_known.insert(policy.name());
            }
            states.insert(agent.agent_id.to_string(), agent.operational_state);
            let (runtime_policy, boot_policy) = (choice_name(runtime_choice), choice_name(boot_choice));
            accepted.push(Accepted { index, agent, runtime_policy, boot_policy });
        }
        let runtime_ids = self.store_policies::<RuntimePolicies>(runtime_ids, new_runtime).await?;
        let boot_ids = self.store_policies::<BootPolicies>(boot_ids, new_boot).await?;
        // Keylime's services delete agents without a look at our table.
        let agents: Vec<&str> = accepted.iter().map(|accepted| accepted.agent.agent_id.as_str()).collect();
        explanation_rows::delete(self.db, &agents).await?;
        let mut rows = Vec::with_capacity(accepted.len());
        for Accepted { index, agent, runtime_policy, boot_policy } in accepted {
            let runtime_policy_id = runtime_ids.get(runtime_policy).copied();
            let boot_policy_id = boot_ids.get(boot_policy).copied();
            rows.push(agent_columns::enrolment_row(agent, runtime_policy_id, boot_policy_id));
            outcomes[index] = WriteOutcome::Enrolled { runtime_policy_id, boot_policy_id };
        }
        insert_rows(self.db, verifier_agent::Entity, &agent_columns::ENROLMENT, rows, None).await
    }

    /// Stores new policies and adds their row ids to the known ones.
    async fn store_policies<P: PolicyTable>(
        &self,
        mut known: HashMap<String, i32>,
        new: Vec<&P::New>,
    ) -> Result<HashMap<String, i32>, DbErr> {
        if new.is_empty() {
            return Ok(known);
        }
        let names: Vec<String> = new.iter().map(|policy| policy.name().to_owned()).collect();
        policy_rows::insert::<P, _>(self.db, new).await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        known.extend(policy_rows::ids::<P, _>(self.db, self.engine, &names).await?);
        Ok(known)
    }

    /// One after the other: they are few, and each sees the policies of the one before.
    async fn amend(&self, indexes: &[usize], states: &States, outcomes: &mut [WriteOutcome]) -> Result<(), DbErr> {
        for index in indexes {
            let VerifierWrite::Amend { agent_id, changes } = &self.batch[*index] else { continue };
            outcomes[*index] = if states.contains_key(agent_id.as_str()) {
                amendment_rows::amend(self.db, self.engine, agent_id.as_str(), changes).await?
            } else {
                WriteOutcome::Gone { stored_state: None }
            };
        }
        Ok(())
    }

    async fn progress(
        &self,
        indexes: &[usize],
        states: &mut States,
        outcomes: &mut [WriteOutcome],
    ) -> Result<(), DbErr> {
        // Of several changes of one agent the last one counts; the notices of all do.
        let mut latest: BTreeMap<&str, &AgentProgress> = BTreeMap::new();
        let mut notices: Vec<&OutboxRow> = Vec::new();
        let mut explained: Vec<(&str, &ExplanationChange)> = Vec::new();
        let mut judged: Vec<(&str, &Attestation)> = Vec::new();
        let mut pruned: Vec<(&str, AttestationIndex)> = Vec::new();
        for index in indexes {
            let (progress, outbox, conclusion) = match &self.batch[*index] {
                VerifierWrite::Progress { progress, outbox } => (progress, outbox, None),
                VerifierWrite::Conclude { progress, attestation, prune, outbox } => {
                    (progress, outbox, Some((attestation, prune)))
                }
                VerifierWrite::Enrol { .. }
                | VerifierWrite::Amend { .. }
                | VerifierWrite::SetState { .. }
                | VerifierWrite::Delete { .. }
                | VerifierWrite::ReceiveEvidence { .. }
                | VerifierWrite::DiscardAttestation { .. }
                | VerifierWrite::OutboxDelivered { .. } => continue,
            };
            match states.get_mut(progress.agent_id.as_str()) {
                None => outcomes[*index] = WriteOutcome::Gone { stored_state: None },
                Some(stored) if is_stopped(*stored) => {
                    outcomes[*index] = WriteOutcome::Gone { stored_state: *stored };
                }
                Some(stored) => {
                    *stored = progress.operational_state;
                    latest.insert(progress.agent_id.as_str(), progress);
                    notices.extend(outbox);
                    explained.push((progress.agent_id.as_str(), &progress.explanations));
                    if let Some((attestation, prune)) = conclusion {
                        judged.push((progress.agent_id.as_str(), attestation));
                        pruned.extend(prune.iter().map(|index| (progress.agent_id.as_str(), *index)));
                    }
                }
            }
        }
        let rows = latest.into_values().map(agent_columns::progress_row).collect();
        let update = agent_columns::progress_update();
        insert_rows(self.db, verifier_agent::Entity, &agent_columns::PROGRESS, rows, Some(&update)).await?;
        outbox_rows::insert(self.db, &notices).await?;
        explanation_rows::change(self.db, &explained).await?;
        attestation_rows::upsert(self.db, &judged).await?;
        for (agent_id, attestation) in judged {
            attestation_rows::certify(self.db, agent_id, attestation).await?;
        }
        attestation_rows::delete(self.db, &pruned).await
    }

    async fn receive(&self, indexes: &[usize], states: &States, outcomes: &mut [WriteOutcome]) -> Result<(), DbErr> {
        let mut received: Vec<(&str, &Attestation)> = Vec::new();
        let mut again: Vec<(&str, AttestationIndex)> = Vec::new();
        for index in indexes {
            let VerifierWrite::ReceiveEvidence { agent_id, attestation, occurrence } = &self.batch[*index] else {
                continue;
            };
            match states.get(agent_id.as_str()) {
                None => outcomes[*index] = WriteOutcome::Gone { stored_state: None },
                Some(stored) if is_stopped(*stored) => {
                    outcomes[*index] = WriteOutcome::Gone { stored_state: *stored };
                }
                Some(_) => {
                    received.push((agent_id.as_str(), attestation));
                    if *occurrence == Occurrence::Again {
                        again.push((agent_id.as_str(), attestation.index));
                    }
                }
            }
        }
        attestation_rows::delete_evidence(self.db, &again).await?;
        attestation_rows::upsert(self.db, &received).await?;
        attestation_rows::insert_evidence(self.db, &received).await
    }

    async fn discard(&self, indexes: &[usize], states: &States, outcomes: &mut [WriteOutcome]) -> Result<(), DbErr> {
        let mut discarded: Vec<(&str, AttestationIndex)> = Vec::new();
        for index in indexes {
            let VerifierWrite::DiscardAttestation { agent_id, index: attestation } = &self.batch[*index] else {
                continue;
            };
            match states.get(agent_id.as_str()) {
                None => outcomes[*index] = WriteOutcome::Gone { stored_state: None },
                Some(_) => discarded.push((agent_id.as_str(), *attestation)),
            }
        }
        attestation_rows::delete(self.db, &discarded).await
    }

    async fn set_states(
        &self,
        indexes: &[usize],
        states: &mut States,
        outcomes: &mut [WriteOutcome],
    ) -> Result<(), DbErr> {
        let mut changed: BTreeMap<&str, Option<i32>> = BTreeMap::new();
        for index in indexes {
            let VerifierWrite::SetState { agent_id, state } = &self.batch[*index] else { continue };
            match states.get_mut(agent_id.as_str()) {
                None => outcomes[*index] = WriteOutcome::Gone { stored_state: None },
                Some(stored) => {
                    *stored = *state;
                    changed.insert(agent_id.as_str(), *state);
                }
            }
        }
        let mut by_state: BTreeMap<Option<i32>, Vec<&str>> = BTreeMap::new();
        for (agent, state) in changed {
            by_state.entry(state).or_default().push(agent);
        }
        for (state, agents) in by_state {
            for list in key_lists(&agents) {
                let update = Query::update()
                    .table(verifier_agent::Entity)
                    .value(Column::OperationalState, state)
                    .and_where(one_of(self.db, Column::AgentId, &list))
                    .to_owned();
                self.db.execute(&update).await?;
            }
        }
        Ok(())
    }

    /// Referring rows first; then the policies named like the agents, unless another agent uses them (`verifier-v2.md` §3.4).
    async fn delete(&self, indexes: &[usize], states: &mut States, outcomes: &mut [WriteOutcome]) -> Result<(), DbErr> {
        let mut agents: Vec<&str> = Vec::new();
        for index in indexes {
            let Some(agent) = agent_of(&self.batch[*index]) else { continue };
            match states.remove(agent) {
                Some(_) => agents.push(agent),
                None => outcomes[*index] = WriteOutcome::Gone { stored_state: None },
            }
        }
        for list in key_lists(&agents) {
            let evidence = Query::delete()
                .from_table(evidence_item::Entity)
                .and_where(one_of(self.db, evidence_item::Column::AgentId, &list))
                .to_owned();
            self.db.execute(&evidence).await?;
            let attestations = Query::delete()
                .from_table(attestation::Entity)
                .and_where(one_of(self.db, attestation::Column::AgentId, &list))
                .to_owned();
            self.db.execute(&attestations).await?;
            let rows = Query::delete()
                .from_table(verifier_agent::Entity)
                .and_where(one_of(self.db, Column::AgentId, &list))
                .to_owned();
            self.db.execute(&rows).await?;
        }
        explanation_rows::delete(self.db, &agents).await?;
        policy_rows::delete_unused::<RuntimePolicies, _>(self.db, &agents).await?;
        policy_rows::delete_unused::<BootPolicies, _>(self.db, &agents).await
    }

    async fn delivered(&self, indexes: &[usize]) -> Result<(), DbErr> {
        let confirmed: Vec<_> = indexes
            .iter()
            .filter_map(|index| match &self.batch[*index] {
                VerifierWrite::OutboxDelivered { id, notifier } => Some((*id, *notifier)),
                VerifierWrite::Enrol { .. }
                | VerifierWrite::Amend { .. }
                | VerifierWrite::Progress { .. }
                | VerifierWrite::ReceiveEvidence { .. }
                | VerifierWrite::Conclude { .. }
                | VerifierWrite::DiscardAttestation { .. }
                | VerifierWrite::SetState { .. }
                | VerifierWrite::Delete { .. } => None,
            })
            .collect();
        if confirmed.is_empty() { Ok(()) } else { outbox_rows::confirm(self.db, &confirmed).await }
    }
}

/// Keylime's order of checks (`verifier-v2.md` §3.1, steps 4, 5 and 9); `None` when nothing stands against it.
fn refusal<R, B>(
    runtime: &Resolved<'_, R>,
    boot: &Resolved<'_, B>,
    runtime_name: &str,
    boot_name: &str,
    agent_exists: impl Fn() -> bool,
) -> Option<WriteOutcome> {
    match runtime {
        Resolved::Exists => return Some(WriteOutcome::RuntimePolicyExists(runtime_name.to_owned())),
        Resolved::Missing => return Some(WriteOutcome::RuntimePolicyMissing(runtime_name.to_owned())),
        Resolved::Use | Resolved::Store(_) => {}
    }
    if agent_exists() {
        return Some(WriteOutcome::AgentExists);
    }
    match boot {
        Resolved::Exists => Some(WriteOutcome::BootPolicyExists(boot_name.to_owned())),
        Resolved::Missing => Some(WriteOutcome::BootPolicyMissing(boot_name.to_owned())),
        Resolved::Use | Resolved::Store(_) => None,
    }
}

fn resolve<'a, N: NewPolicy>(choice: &'a PolicyChoice<N>, known: &HashSet<&str>) -> Resolved<'a, N> {
    match choice {
        PolicyChoice::Stored(name) if known.contains(name.as_str()) => Resolved::Use,
        PolicyChoice::Stored(_) => Resolved::Missing,
        PolicyChoice::New(policy) if known.contains(policy.name()) => Resolved::Exists,
        PolicyChoice::StoredOrNew(policy) if known.contains(policy.name()) => Resolved::Use,
        // An enrolment has no policy of its own yet that it could replace.
        PolicyChoice::Own(policy) if known.contains(policy.name()) => Resolved::Exists,
        PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy) => {
            Resolved::Store(policy)
        }
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// States in which an attestation under way must not change the row any more (`verifier-db.md` §4).
fn is_stopped(stored: Option<i32>) -> bool {
    let stored = stored.and_then(|code| OperationalState::from_code(i64::from(code)));
    matches!(stored, Some(OperationalState::Terminated | OperationalState::TenantFailed))
}

fn agent_of(write: &VerifierWrite) -> Option<&str> {
    match write {
        VerifierWrite::Enrol { agent, .. } => Some(agent.agent_id.as_str()),
        VerifierWrite::Progress { progress, .. } | VerifierWrite::Conclude { progress, .. } => {
            Some(progress.agent_id.as_str())
        }
        VerifierWrite::SetState { agent_id, .. }
        | VerifierWrite::Amend { agent_id, .. }
        | VerifierWrite::Delete { agent_id }
        | VerifierWrite::ReceiveEvidence { agent_id, .. }
        | VerifierWrite::DiscardAttestation { agent_id, .. } => Some(agent_id.as_str()),
        VerifierWrite::OutboxDelivered { .. } => None,
    }
}
