//! A verifier database in memory that can be told to be away.

use async_trait::async_trait;
use keylime_actors::ports::{
    AgentAmendment, AgentPage, AgentProgress, AgentRecord, BootPolicyRecord, EMPTY_POLICY, ExplanationChange,
    NewBootPolicy, NewRuntimePolicy, OutboxRow, PolicyChoice, PolicyStoreError, RuntimePolicyRecord, StatedPolicies,
    StoreError, VerifierStore, VerifierWrite, WriteOutcome,
};
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::verdict::Explanation;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The database.
#[derive(Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    away: AtomicBool,
    batches: AtomicUsize,
}

#[derive(Default, Clone)]
struct Tables {
    agents: BTreeMap<String, AgentRecord>,
    runtime: BTreeMap<String, RuntimePolicyRecord>,
    boot: BTreeMap<String, BootPolicyRecord>,
    /// Names of boot policies by id.
    boot_names: HashMap<i32, String>,
    outbox: Vec<OutboxRow>,
    attestations: BTreeMap<String, BTreeMap<AttestationIndex, Attestation>>,
    explanations: BTreeMap<String, Arc<[Explanation]>>,
    last_id: i32,
}

impl MemoryStore {
    /// Makes the database go away or come back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Stored notices.
    pub fn outbox(&self) -> Vec<OutboxRow> {
        self.tables.lock().outbox.clone()
    }

    /// Puts an attestation into the database behind the verifier's back.
    pub fn change_attestation(&self, agent_id: &AgentId, attestation: Attestation) {
        let mut tables = self.tables.lock();
        let stored = tables.attestations.entry(agent_id.as_str().to_owned()).or_default();
        stored.insert(attestation.index, attestation);
    }

    /// Forgets stored notices.
    pub fn clear_outbox(&self) {
        self.tables.lock().outbox.clear();
    }

    /// Stored attestations of an agent, oldest first.
    pub fn attestations_of(&self, agent_id: &AgentId) -> Vec<Attestation> {
        self.tables.lock().attestations.get(agent_id.as_str()).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// One row.
    pub fn row(&self, agent_id: &AgentId) -> Option<AgentRecord> {
        self.tables.lock().agents.get(agent_id.as_str()).cloned()
    }

    /// Changes a row behind the verifier's back.
    pub fn change(&self, agent_id: &AgentId, change: impl FnOnce(&mut AgentRecord)) {
        change(self.tables.lock().agents.get_mut(agent_id.as_str()).expect("the row exists"));
    }

    /// Removes a row behind the verifier's back.
    pub fn remove(&self, agent_id: &AgentId) {
        self.tables.lock().agents.remove(agent_id.as_str());
    }

    /// Removes all agents behind the verifier's back.
    pub fn clear_agents(&self) {
        let mut tables = self.tables.lock();
        tables.agents.clear();
        tables.boot.clear();
        tables.boot_names.clear();
    }

    /// Inserts a row behind the verifier's back.
    pub fn insert(&self, record: AgentRecord) {
        self.tables.lock().agents.insert(record.agent_id.as_str().to_owned(), record);
    }

    /// Batches written so far.
    pub fn batches(&self) -> usize {
        self.batches.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("told to be away".to_owned()));
        }
        Ok(())
    }
}

impl Tables {
    fn apply(&mut self, write: VerifierWrite) -> WriteOutcome {
        match write {
            VerifierWrite::Enrol { agent, runtime_policy, boot_policy } => {
                self.enrol(*agent, runtime_policy, boot_policy)
            }
            VerifierWrite::Progress { progress, outbox } => {
                let stored = self.agents.get_mut(progress.agent_id.as_str());
                match stored {
                    None => WriteOutcome::Gone { stored_state: None },
                    Some(row) if matches!(row.operational_state, Some(8 | 10)) => {
                        WriteOutcome::Gone { stored_state: row.operational_state }
                    }
                    Some(row) => {
                        let agent_id = progress.agent_id.as_str().to_owned();
                        match progress.explanations.clone() {
                            ExplanationChange::Keep => {}
                            ExplanationChange::Clear => drop(self.explanations.remove(&agent_id)),
                            ExplanationChange::Replace(list) => drop(self.explanations.insert(agent_id, list)),
                        }
                        progress_into(row, *progress);
                        self.outbox.extend(outbox);
                        WriteOutcome::Written
                    }
                }
            }
            VerifierWrite::Amend { agent_id, changes } => self.amend(&agent_id, *changes),
            VerifierWrite::ReceiveEvidence { agent_id, attestation, .. } => {
                match self.agents.get(agent_id.as_str()).map(|row| row.operational_state) {
                    None => WriteOutcome::Gone { stored_state: None },
                    Some(state @ Some(8 | 10)) => WriteOutcome::Gone { stored_state: state },
                    Some(_) => {
                        let stored = self.attestations.entry(agent_id.as_str().to_owned()).or_default();
                        stored.insert(attestation.index, (*attestation).clone());
                        WriteOutcome::Written
                    }
                }
            }
            VerifierWrite::Conclude { progress, attestation, prune, outbox } => {
                let agent_id = progress.agent_id.as_str().to_owned();
                let outcome = self.apply(VerifierWrite::Progress { progress, outbox });
                if outcome == WriteOutcome::Written {
                    let stored = self.attestations.entry(agent_id).or_default();
                    stored.insert(attestation.index, (*attestation).clone());
                    stored.retain(|index, _| !prune.contains(index));
                }
                outcome
            }
            VerifierWrite::DiscardAttestation { agent_id, index } => {
                self.attestations.entry(agent_id.as_str().to_owned()).or_default().remove(&index);
                WriteOutcome::Written
            }
            VerifierWrite::SetState { agent_id, state } => match self.agents.get_mut(agent_id.as_str()) {
                Some(row) => {
                    row.operational_state = state;
                    WriteOutcome::Written
                }
                None => WriteOutcome::Gone { stored_state: None },
            },
            VerifierWrite::Delete { agent_id } => match self.agents.remove(agent_id.as_str()) {
                Some(_) => {
                    self.attestations.remove(agent_id.as_str());
                    self.explanations.remove(agent_id.as_str());
                    WriteOutcome::Written
                }
                None => WriteOutcome::Gone { stored_state: None },
            },
            VerifierWrite::OutboxDelivered { id, notifier } => {
                for row in self.outbox.iter_mut().filter(|row| row.id == id) {
                    row.pending.retain(|name| name != notifier);
                }
                WriteOutcome::Written
            }
        }
    }

    fn enrol(
        &mut self,
        mut agent: AgentRecord,
        runtime: PolicyChoice<NewRuntimePolicy>,
        boot: PolicyChoice<NewBootPolicy>,
    ) -> WriteOutcome {
        if self.agents.contains_key(agent.agent_id.as_str()) {
            return WriteOutcome::AgentExists;
        }
        let runtime_policy_id = match runtime {
            PolicyChoice::Stored(name) => match self.runtime.get(&name) {
                Some(row) => row.id,
                None => return WriteOutcome::RuntimePolicyMissing(name),
            },
            PolicyChoice::New(policy) if self.runtime.contains_key(&policy.name) => {
                return WriteOutcome::RuntimePolicyExists(policy.name);
            }
            PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy) => {
                self.store_runtime(policy)
            }
        };
        let boot_policy_id = match boot {
            PolicyChoice::Stored(name) => match self.boot.get(&name) {
                Some(row) => row.id,
                None => return WriteOutcome::BootPolicyMissing(name),
            },
            PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy) => {
                self.last_id += 1;
                let id = self.last_id;
                let row = BootPolicyRecord { id, name: policy.name.clone(), text: policy.text };
                let id = self.boot.entry(policy.name.clone()).or_insert(row).id;
                self.boot_names.insert(id, policy.name);
                id
            }
        };
        agent.runtime_policy_id = Some(runtime_policy_id);
        agent.boot_policy_id = Some(boot_policy_id);
        self.agents.insert(agent.agent_id.as_str().to_owned(), agent);
        WriteOutcome::Enrolled { runtime_policy_id: Some(runtime_policy_id), boot_policy_id: Some(boot_policy_id) }
    }

    /// Changes an agent; of policies, only one of its own is taken.
    fn amend(&mut self, agent_id: &AgentId, changes: AgentAmendment) -> WriteOutcome {
        let Some(mut row) = self.agents.remove(agent_id.as_str()) else {
            return WriteOutcome::Gone { stored_state: None };
        };
        changes.apply(&mut row);
        if let Some(PolicyChoice::Own(policy)) = changes.runtime_policy {
            self.runtime.remove(&policy.name);
            row.runtime_policy_id = Some(self.store_runtime(policy));
        }
        self.agents.insert(agent_id.as_str().to_owned(), row);
        WriteOutcome::Written
    }

    fn store_runtime(&mut self, policy: NewRuntimePolicy) -> i32 {
        self.last_id += 1;
        let row = RuntimePolicyRecord {
            id: self.last_id,
            name: policy.name.clone(),
            text: policy.text,
            checksum: policy.checksum,
            generator: policy.generator,
            tpm_policy: policy.tpm_policy,
        };
        self.runtime.entry(policy.name).or_insert(row).id
    }
}

fn progress_into(row: &mut AgentRecord, progress: AgentProgress) {
    row.operational_state = progress.operational_state;
    row.public_key = progress.public_key.to_string();
    row.hash_alg = progress.hash_alg.to_string();
    row.enc_alg = progress.enc_alg.to_string();
    row.sign_alg = progress.sign_alg.to_string();
    row.supported_version = progress.supported_version.to_string();
    row.boottime = progress.boottime;
    row.ima_pcrs = progress.ima_pcrs;
    row.pcr10 = progress.pcr10;
    row.next_ima_ml_entry = progress.next_ima_ml_entry;
    row.learned_ima_keyrings = progress.learned_ima_keyrings;
    row.severity_level = progress.severity_level;
    row.last_event_id = progress.last_event_id;
    row.attestation_count = progress.attestation_count;
    row.last_received_quote = progress.last_received_quote;
    row.last_successful_attestation = progress.last_successful_attestation;
    row.tpm_clockinfo = progress.tpm_clockinfo;
    row.accept_attestations = progress.accept_attestations;
    row.consecutive_attestation_failures = progress.consecutive_attestation_failures;
}

#[async_trait]
impl VerifierStore for MemoryStore {
    async fn attestation_summaries(&self, agent_ids: &[&str]) -> Result<Vec<(AgentId, StoredAttestation)>, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        let summaries = agent_ids.iter().flat_map(|id| {
            tables.attestations.get(*id).into_iter().flat_map(BTreeMap::values).map(|attestation| {
                let Attestation { index, stage, boot_time, evidence_received, .. } = attestation.clone();
                let agent_id = AgentId::parse(id).expect("an agent id");
                (agent_id, StoredAttestation { index, stage, boot_time, evidence_received })
            })
        });
        Ok(summaries.collect())
    }

    async fn attestations(&self, agent_id: &str, limit: u64) -> Result<Vec<Attestation>, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        let stored = tables.attestations.get(agent_id).into_iter().flat_map(|stored| stored.values().rev());
        Ok(stored.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn attestation(&self, agent_id: &str, index: AttestationIndex) -> Result<Option<Attestation>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().attestations.get(agent_id).and_then(|stored| stored.get(&index)).cloned())
    }

    async fn agents_page(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<AgentPage, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        let later = tables.agents.values().filter(|row| after.is_none_or(|after| row.agent_id.as_str() > after));
        let mut rows: Vec<AgentRecord> =
            later.filter(|row| verifier_id.is_none_or(|id| row.verifier_id == id)).cloned().collect();
        let limit = usize::try_from(limit).expect("a small limit");
        let next = (rows.len() > limit).then(|| rows[limit - 1].agent_id.as_str().to_owned());
        rows.truncate(limit);
        Ok(AgentPage { agents: rows, bad: Vec::new(), next })
    }

    async fn agent(&self, agent_id: &str) -> Result<Option<AgentRecord>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().agents.get(agent_id).cloned())
    }

    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        let own = tables.agents.values().filter(|row| verifier_id.is_none_or(|id| row.verifier_id == id));
        Ok(own.map(|row| row.agent_id.as_str().to_owned()).collect())
    }

    async fn write(&self, batch: Vec<VerifierWrite>) -> Result<Vec<WriteOutcome>, StoreError> {
        // A commit takes a moment, so that batches form.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        self.check()?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.tables.lock();
        Ok(batch.into_iter().map(|write| tables.apply(write)).collect())
    }

    async fn runtime_policy_by_id(&self, id: i32) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().runtime.values().find(|row| row.id == id).cloned())
    }

    async fn runtime_policy(&self, name: &str) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().runtime.get(name).cloned())
    }

    async fn runtime_policy_names(&self) -> Result<Vec<String>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().runtime.keys().cloned().collect())
    }

    async fn create_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<(), PolicyStoreError> {
        self.check()?;
        let mut tables = self.tables.lock();
        if tables.runtime.contains_key(&policy.name) {
            return Err(PolicyStoreError::Exists);
        }
        tables.store_runtime(policy);
        Ok(())
    }

    async fn update_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        self.check()?;
        let mut tables = self.tables.lock();
        let Some(row) = tables.runtime.get_mut(&policy.name) else { return Err(PolicyStoreError::Missing) };
        row.text = policy.text;
        row.checksum = policy.checksum;
        row.generator = policy.generator;
        let id = row.id;
        let users = tables.agents.values().filter(|agent| agent.runtime_policy_id == Some(id));
        Ok(users.map(|agent| agent.agent_id.clone()).collect())
    }

    async fn delete_runtime_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.check()?;
        self.tables.lock().runtime.remove(name).map(drop).ok_or(PolicyStoreError::Missing)
    }

    async fn stated_policies(&self, runtime: &[i32], boot: &[i32]) -> Result<StatedPolicies, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        let supplied = tables.runtime.values().filter(|row| row.generator > EMPTY_POLICY).map(|row| row.id);
        let texts = tables.boot.values().filter(|row| row.text.is_some()).map(|row| row.id);
        Ok(StatedPolicies {
            runtime: supplied.filter(|id| runtime.contains(id)).collect(),
            boot: texts.filter(|id| boot.contains(id)).collect(),
        })
    }

    async fn boot_policy_by_id(&self, id: i32) -> Result<Option<BootPolicyRecord>, StoreError> {
        self.check()?;
        let tables = self.tables.lock();
        Ok(tables.boot_names.get(&id).and_then(|name| tables.boot.get(name)).cloned())
    }

    async fn boot_policy(&self, name: &str) -> Result<Option<BootPolicyRecord>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().boot.get(name).cloned())
    }

    async fn boot_policy_names(&self) -> Result<Vec<String>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().boot.keys().cloned().collect())
    }

    async fn create_boot_policy(&self, policy: NewBootPolicy) -> Result<(), PolicyStoreError> {
        self.check()?;
        let mut tables = self.tables.lock();
        tables.last_id += 1;
        let row = BootPolicyRecord { id: tables.last_id, name: policy.name.clone(), text: policy.text };
        tables.boot_names.insert(row.id, policy.name.clone());
        tables.boot.insert(policy.name, row);
        Ok(())
    }

    async fn update_boot_policy(&self, policy: NewBootPolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        self.check()?;
        match self.tables.lock().boot.get_mut(&policy.name) {
            Some(row) => row.text = policy.text,
            None => return Err(PolicyStoreError::Missing),
        }
        Ok(Vec::new())
    }

    async fn delete_boot_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.check()?;
        self.tables.lock().boot.remove(name).map(drop).ok_or(PolicyStoreError::Missing)
    }

    async fn explanations(&self, agent_id: &str) -> Result<Vec<Explanation>, StoreError> {
        self.check()?;
        Ok(self.tables.lock().explanations.get(agent_id).map(|list| list.to_vec()).unwrap_or_default())
    }

    async fn outbox_pending(&self, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.check()?;
        let limit = usize::try_from(limit).expect("a small limit");
        Ok(self.tables.lock().outbox.iter().filter(|row| !row.pending.is_empty()).take(limit).cloned().collect())
    }
}
