//! The verifier system as its users see it: plain async methods, typed errors, no actor types.

use crate::persistence::batch_writer::{BatchWriter, Keep};
use crate::ports::{
    AgentProgress, AgentRecord, ExplanationChange, StatedPolicies, StoreError, VerifierStore, VerifierWrite,
    WriteOutcome,
};
use crate::runtime::actor_system::{ActorSystem, StartError};
use crate::runtime::admission::Admission;
use crate::runtime::cpu_pool::CpuPool;
use crate::runtime::shard_map::ShardMap;
use crate::verifier::agent_actor::{Command, CommandOutcome};
use crate::verifier::agent_key::KeyRetention;
use crate::verifier::agent_material::{AgentMaterial, AgentTls};
use crate::verifier::api::{AgentStatus, CommandError, Deletion, EnrolAgent, EnrolError};
use crate::verifier::one_shot::{EvidenceError, JudgedEvidence, OneShot, PresentedEvidence};
use crate::verifier::options::{Shards, VerifierOptions, VerifierPorts};
use crate::verifier::policy_cache::PolicyCache;
use crate::verifier::push_material::PushMaterial;
use crate::verifier::reconciler::reconcile_for_ever;
use crate::verifier::recovery::{adopt_all, is_pull, is_pushed, recover, seeds_of};
use crate::verifier::shard_context::{Start, SystemContext};
use crate::verifier::shard_supervisor::{Announce, Release, Route, ShardSupervisor, Survey};
use crate::verifier::shared_terms::SharedTerms;
use crate::verifier::status::{AgentSnapshot, status_of};
use actix::Addr;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::OperationalState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A handle to the running verifier system; cheap to clone.
#[derive(Clone)]
pub struct VerifierHandle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) system: SystemContext,
    pub(super) shards: Arc<[Addr<ShardSupervisor>]>,
    pub(super) map: ShardMap,
    pub(super) recovered: AtomicBool,
    stopping: AtomicBool,
    threads: Mutex<ActorSystem>,
    one_shot: OneShot,
    /// Held while an agent is changed and its actor told.
    pub(super) amending: tokio::sync::Mutex<()>,
}

/// Whether the verifier does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Stored agents are still being taken up.
    Recovering,
    /// It attests.
    Ready,
    /// The database does not answer: attestation pauses.
    StoreUnavailable,
    /// It is shutting down.
    Stopping,
}

/// Starts the verifier system.
///
/// # Errors
/// Threads cannot be started.
pub fn start(
    options: VerifierOptions,
    agent_tls: AgentTls,
    ports: VerifierPorts,
) -> Result<VerifierHandle, StartError> {
    let (threads, shard_count) = match options.shards {
        // The writer and the background jobs have an arbiter of their own.
        Shards::Threads(n) => (ActorSystem::with_threads(n.max(1) + 1)?, n.max(1)),
        Shards::CurrentArbiter => (ActorSystem::on_current_arbiter(), 1),
    };
    let pool = match options.cpu_threads {
        0 => CpuPool::inline(),
        n => CpuPool::with_threads(n, n * 64)?,
    };
    let store = Arc::clone(&ports.store);
    let one_shot_limit = options.cpu_threads.max(1) * ONE_SHOT_PER_THREAD;
    let one_shot = OneShot::new(pool.clone(), one_shot_limit, Arc::clone(&ports.appraiser));
    let system = SystemContext {
        settings: Arc::new(options.pull_settings()),
        push_settings: Arc::new(options.push_settings()),
        model: options.model,
        tokens: Arc::default(),
        silences: Arc::default(),
        verifier_id: options.verifier_id.as_str().into(),
        agent_tls,
        writer: BatchWriter::new(Arc::clone(&store)),
        admission: Admission::new(options.max_in_flight),
        row_reads: Admission::new(ROW_READS),
        policies: Arc::new(PolicyCache::new(Arc::clone(&store), pool.clone(), options.boot_policies.clone())),
        pool,
        shared: Arc::new(SharedTerms::new(KeyRetention::for_interval(options.quote_interval))),
        live: Arc::new(AtomicUsize::new(0)),
        ports,
    };
    let mut shards = Vec::with_capacity(shard_count);
    for index in 0..shard_count {
        let system = system.clone();
        shards.push(threads.build_on(index, move || ShardSupervisor::start_here(system))?);
    }
    let map = ShardMap::new(NonZeroUsize::new(shard_count).unwrap_or(NonZeroUsize::MIN));
    let inner = Arc::new(Inner {
        system,
        shards: shards.into(),
        map,
        recovered: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        threads: Mutex::new(threads),
        one_shot,
        amending: tokio::sync::Mutex::default(),
    });
    let handle = VerifierHandle { inner };
    handle.start_background(shard_count, options.reconcile_interval)?;
    Ok(handle)
}

impl VerifierHandle {
    fn start_background(&self, arbiter: usize, reconcile_interval: Duration) -> Result<(), StartError> {
        let inner = Arc::downgrade(&self.inner);
        let writer = self.inner.system.writer.clone();
        let (shards, map) = (Arc::clone(&self.inner.shards), self.inner.map);
        let (store, id) = (Arc::clone(self.store()), Arc::clone(&self.inner.system.verifier_id));
        let model = self.inner.system.model;
        let on_gone_shards = Arc::clone(&shards);
        self.inner.threads.lock().build_on(arbiter, move || {
            actix_rt::spawn(writer.run(Box::new(move |agent_id, stored| {
                on_gone_shards[map.shard_of(&agent_id)].do_send(Announce::RowChanged(agent_id, stored));
            })));
            actix_rt::spawn(async move {
                let count = recover(Arc::clone(&store), Arc::clone(&id), Arc::clone(&shards), map, model).await;
                tracing::info!(target: "keylime.verifier", count, "stored agents taken up");
                if let Some(inner) = inner.upgrade() {
                    inner.recovered.store(true, Ordering::Release);
                }
                reconcile_for_ever(store, id, shards, map, model, reconcile_interval).await;
            });
        })
    }

    /// Enrols an agent; it is stored and its attestation has begun when this answers.
    ///
    /// # Errors
    /// See [`EnrolError`].
    pub async fn enrol(&self, request: EnrolAgent) -> Result<(), EnrolError> {
        if self.is_stopping() || self.inner.system.writer.saturated() {
            return Err(EnrolError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS });
        }
        let mut record = new_record(&request, &self.inner.system.verifier_id);
        let system = &self.inner.system;
        if is_pushed(&record, system.model) {
            let material = PushMaterial::from_record(&record, &system.shared);
            material.terms.map_err(|reason| EnrolError::Invalid(reason.into()))?;
        } else if is_pull(&record) {
            AgentMaterial::from_record(&record, system.agent_tls, &system.shared).map_err(EnrolError::Invalid)?;
        }
        let write = VerifierWrite::Enrol {
            agent: Box::new(record.clone()),
            runtime_policy: request.runtime_policy,
            boot_policy: request.boot_policy,
        };
        match self.write(write, Keep::Once).await? {
            WriteOutcome::Enrolled { runtime_policy_id, boot_policy_id } => {
                record.runtime_policy_id = runtime_policy_id;
                record.boot_policy_id = boot_policy_id;
            }
            WriteOutcome::AgentExists => return Err(EnrolError::AgentExists),
            WriteOutcome::RuntimePolicyExists(name) => return Err(EnrolError::RuntimePolicyExists(name)),
            WriteOutcome::RuntimePolicyMissing(name) => return Err(EnrolError::RuntimePolicyMissing(name)),
            WriteOutcome::BootPolicyExists(name) => return Err(EnrolError::BootPolicyExists(name)),
            WriteOutcome::BootPolicyMissing(name) => return Err(EnrolError::BootPolicyMissing(name)),
            WriteOutcome::Refused(reason) => return Err(EnrolError::Invalid(reason)),
            WriteOutcome::Written | WriteOutcome::Gone { .. } => {
                return Err(EnrolError::Store(StoreError::Internal("unexpected outcome of an enrolment".to_owned())));
            }
        }
        self.adopt(record).await?;
        Ok(())
    }

    async fn adopt(&self, record: AgentRecord) -> Result<(), StoreError> {
        let seeds = seeds_of(&**self.store(), vec![record], self.inner.system.model, Start::AtOnce).await?;
        adopt_all(seeds, &self.inner.shards, self.inner.map).await;
        Ok(())
    }

    /// The state of an agent, whichever verifier it belongs to.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn status(&self, agent_id: &AgentId) -> Result<Option<AgentStatus>, StoreError> {
        let Some(record) = self.store().agent(agent_id.as_str()).await? else {
            return Ok(None);
        };
        let mut snapshots = self.survey(vec![agent_id.clone()]).await;
        let snapshot = snapshots.remove(agent_id);
        let is_judged = snapshot.as_ref().is_some_and(|snapshot| snapshot.explanations.is_some());
        let policies = self.stated(std::slice::from_ref(&record)).await?;
        let mut status = self.render(record, snapshot, &policies);
        if !is_judged {
            status.explanations = self.store().explanations(agent_id.as_str()).await?;
        }
        Ok(Some(status))
    }

    /// Up to `limit` agents with an id greater than `after`, in the order of ids.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn statuses(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AgentStatus>, StoreError> {
        let wanted = limit.clamp(1, MAX_PAGE);
        let mut after = after.map(str::to_owned);
        // Rows that cannot be decoded are left out, but a page of nothing else must not look like the end.
        loop {
            let page = self.store().agents_page(verifier_id, after.as_deref(), wanted as u64).await?;
            if page.agents.is_empty() && page.next.is_some() {
                after = page.next;
                continue;
            }
            let mut snapshots = self.survey(page.agents.iter().map(|record| record.agent_id.clone()).collect()).await;
            let policies = self.stated(&page.agents).await?;
            let statuses = page.agents.into_iter().map(|record| {
                let snapshot = snapshots.remove(&record.agent_id);
                self.render(record, snapshot, &policies)
            });
            return Ok(statuses.collect());
        }
    }

    /// Ids of all agents, of one verifier only when given.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.store().agent_ids(verifier_id).await
    }

    /// Deletes an agent.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn delete(&self, agent_id: &AgentId) -> Result<Deletion, CommandError> {
        let record = self.owned(agent_id).await?;
        match self.route(agent_id, Command::Delete).await {
            Some(CommandOutcome::Done) => return Ok(Deletion::Done),
            // Not stored in time is under way too: the write is kept until the database takes it.
            Some(CommandOutcome::Accepted | CommandOutcome::NotStored(_)) => return Ok(Deletion::Accepted),
            None => {}
        }
        self.write(VerifierWrite::Delete { agent_id: record.agent_id }, Keep::Once).await?;
        self.release(agent_id).await;
        Ok(Deletion::Done)
    }

    /// Has the attestation of an agent begin anew.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn reactivate(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        let record = self.owned(agent_id).await?;
        if let Some(outcome) = self.route(agent_id, Command::Reactivate).await {
            return stored(outcome);
        }
        if is_pushed(&record, self.inner.system.model) || !is_pull(&record) {
            return self.accept_push(record).await;
        }
        let state = Some(i32::from(OperationalState::Start.code()));
        self.write(VerifierWrite::SetState { agent_id: agent_id.clone(), state }, Keep::Once).await?;
        self.release(agent_id).await;
        self.adopt(AgentRecord { operational_state: state, ..record }).await?;
        Ok(())
    }

    /// Stops the attestation of an agent.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn stop(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        self.owned(agent_id).await?;
        if let Some(outcome) = self.route(agent_id, Command::Stop).await {
            return stored(outcome);
        }
        let state = Some(i32::from(OperationalState::TenantFailed.code()));
        self.write(VerifierWrite::SetState { agent_id: agent_id.clone(), state }, Keep::Once).await?;
        Ok(())
    }

    /// Judges evidence that is presented once.
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub async fn appraise_evidence(&self, evidence: PresentedEvidence) -> Result<JudgedEvidence, EvidenceError> {
        self.inner.one_shot.judge(evidence).await
    }

    /// To be called after a policy was replaced: the agents that use it are judged by the new one from their next quote on.
    pub async fn policy_changed(&self, agents: Vec<AgentId>) {
        self.inner.system.policies.changed();
        for (shard, agents) in self.by_shard(agents) {
            // A shard that has ended judges nobody.
            let _ = shard.send(Announce::PoliciesChanged(agents)).await;
        }
    }

    /// The database, for policies.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn VerifierStore> {
        &self.inner.system.ports.store
    }

    /// Number of live agent actors.
    #[must_use]
    pub fn live_agents(&self) -> usize {
        self.inner.system.live.load(Ordering::Relaxed)
    }

    /// Whether the verifier does its work.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        if self.is_stopping() {
            Readiness::Stopping
        } else if self.inner.system.writer.saturated() {
            Readiness::StoreUnavailable
        } else if self.inner.recovered.load(Ordering::Acquire) {
            Readiness::Ready
        } else {
            Readiness::Recovering
        }
    }

    /// Stops: no new requests to agents, running ones are waited for at most `drain`, everything is stored, threads end.
    pub async fn shutdown(&self, drain: Duration) {
        if self.inner.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        let until = tokio::time::Instant::now() + drain;
        for shard in self.inner.shards.iter() {
            // A shard that has ended has nothing to drain.
            let _ = shard.send(Announce::Drain).await;
        }
        while self.inner.system.admission.in_use() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for shard in self.inner.shards.iter() {
            // Once more for those that were busy the first time.
            let _ = shard.send(Announce::Drain).await;
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now()).max(Duration::from_secs(1));
        if !self.inner.system.writer.close(left).await {
            tracing::error!(target: "keylime.verifier", "not everything could be stored before the end");
        }
        let inner = Arc::clone(&self.inner);
        // Joining threads blocks; the caller's runtime goes on meanwhile.
        let _ = tokio::task::spawn_blocking(move || inner.threads.lock().stop()).await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }

    pub(super) async fn owned(&self, agent_id: &AgentId) -> Result<AgentRecord, CommandError> {
        if self.is_stopping() {
            return Err(CommandError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS });
        }
        let record = self.store().agent(agent_id.as_str()).await?.ok_or(CommandError::NotFound)?;
        if *record.verifier_id == *self.inner.system.verifier_id {
            Ok(record)
        } else {
            Err(CommandError::OtherVerifier)
        }
    }

    async fn accept_push(&self, record: AgentRecord) -> Result<(), CommandError> {
        let progress = Box::new(AgentProgress { accept_attestations: true, ..progress_of_record(record) });
        self.write(VerifierWrite::Progress { progress, outbox: Vec::new() }, Keep::Once).await?;
        Ok(())
    }

    async fn route(&self, agent_id: &AgentId, command: Command) -> Option<CommandOutcome> {
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        shard.send(Route(agent_id.clone(), command)).await.ok().flatten()
    }

    async fn release(&self, agent_id: &AgentId) {
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        // A shard that has ended holds nothing.
        let _ = shard.send(Release(agent_id.clone())).await;
    }

    pub(super) async fn write(&self, write: VerifierWrite, keep: Keep) -> Result<WriteOutcome, StoreError> {
        let receipt = self.inner.system.writer.durable(write, keep);
        receipt.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer has stopped".to_owned())))
    }

    async fn survey(&self, agent_ids: Vec<AgentId>) -> HashMap<AgentId, AgentSnapshot> {
        let mut snapshots = HashMap::with_capacity(agent_ids.len());
        for (shard, agent_ids) in self.by_shard(agent_ids) {
            // Without an answer the rows speak for themselves.
            let answer = shard.send(Survey(agent_ids)).await.unwrap_or_default();
            snapshots.extend(answer.into_iter().map(|snapshot| (snapshot.agent_id.clone(), snapshot)));
        }
        snapshots
    }

    fn by_shard(&self, agent_ids: Vec<AgentId>) -> impl Iterator<Item = (&Addr<ShardSupervisor>, Vec<AgentId>)> {
        let mut groups: Vec<Vec<AgentId>> = self.inner.shards.iter().map(|_| Vec::new()).collect();
        for agent_id in agent_ids {
            groups[self.inner.map.shard_of(&agent_id)].push(agent_id);
        }
        self.inner.shards.iter().zip(groups).filter(|(_, group)| !group.is_empty())
    }

    async fn stated(&self, records: &[AgentRecord]) -> Result<StatedPolicies, StoreError> {
        let ids = records.iter().map(|record| (record.runtime_policy_id, record.boot_policy_id));
        self.inner.system.policies.stated(ids).await
    }

    fn render(&self, record: AgentRecord, snapshot: Option<AgentSnapshot>, policies: &StatedPolicies) -> AgentStatus {
        let system = &self.inner.system;
        status_of(record, snapshot, policies, &system.settings, system.ports.clock.now())
    }
}

fn stored(outcome: CommandOutcome) -> Result<(), CommandError> {
    match outcome {
        CommandOutcome::Done | CommandOutcome::Accepted => Ok(()),
        CommandOutcome::NotStored(error) => Err(error.into()),
    }
}

/// The row of a new agent (`verifier-v2.md` §3.1, initial row).
fn new_record(request: &EnrolAgent, verifier_id: &str) -> AgentRecord {
    let state = if request.ip.is_some() { OperationalState::Start } else { OperationalState::GetQuote };
    AgentRecord {
        v: request.v.clone(),
        ip: request.ip.clone(),
        port: request.port.map(i32::from),
        operational_state: Some(i32::from(state.code())),
        tpm_policy: request.tpm_policy.clone(),
        meta_data: request.meta_data.clone(),
        ima_sign_verification_keys: request.ima_sign_verification_keys.clone(),
        revocation_key: request.revocation_key.clone(),
        accept_tpm_hash_algs: request.accept_tpm_hash_algs.clone(),
        accept_tpm_encryption_algs: request.accept_tpm_encryption_algs.clone(),
        accept_tpm_signing_algs: request.accept_tpm_signing_algs.clone(),
        verifier_id: verifier_id.to_owned(),
        verifier_ip: request.verifier_ip.clone(),
        verifier_port: request.verifier_port,
        supported_version: request.supported_version.clone(),
        ak_tpm: request.ak_tpm.clone(),
        mtls_cert: request.mtls_cert.clone(),
        ..AgentRecord::fresh(request.agent_id.clone())
    }
}

/// Requests with presented evidence that are judged or wait at a time, for each thread of the pool: an agent's answer never
/// waits behind many of them.
const ONE_SHOT_PER_THREAD: usize = 4;
/// The attestation columns of a row, unchanged.
fn progress_of_record(record: AgentRecord) -> AgentProgress {
    AgentProgress {
        agent_id: record.agent_id,
        operational_state: record.operational_state,
        public_key: record.public_key.into(),
        hash_alg: record.hash_alg.into(),
        enc_alg: record.enc_alg.into(),
        sign_alg: record.sign_alg.into(),
        supported_version: record.supported_version.into(),
        boottime: record.boottime,
        ima_pcrs: record.ima_pcrs,
        pcr10: record.pcr10,
        next_ima_ml_entry: record.next_ima_ml_entry,
        learned_ima_keyrings: record.learned_ima_keyrings,
        severity_level: record.severity_level,
        last_event_id: record.last_event_id,
        attestation_count: record.attestation_count,
        last_received_quote: record.last_received_quote,
        last_successful_attestation: record.last_successful_attestation,
        tpm_clockinfo: record.tpm_clockinfo,
        accept_attestations: record.accept_attestations,
        consecutive_attestation_failures: record.consecutive_attestation_failures,
        explanations: ExplanationChange::Keep,
    }
}

/// Rows that actors read at one time.
const ROW_READS: usize = 16;
pub(super) const RETRY_AFTER_SECONDS: u32 = 5;
const MAX_PAGE: usize = 1000;
