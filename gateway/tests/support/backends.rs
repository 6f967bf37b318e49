//! Backends that answer from a script.

use super::sessions::{MemorySessions, sessions};
use async_trait::async_trait;
use keylime_actors::ports::{
    AgentAmendment, AgentPage, AgentRecord, BootPolicyRecord, NewBootPolicy, NewRuntimePolicy, OutboxRow,
    PolicyStoreError, RegistrationRecord, RuntimePolicyRecord, StatedPolicies, StoreError, VerifierStore,
    VerifierWrite, WriteOutcome,
};
use keylime_actors::registrar::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use keylime_actors::runtime::cpu_pool::CpuPool;
use keylime_actors::sessions::SessionOptions;
use keylime_actors::verifier::one_shot::OneShot;
use keylime_actors::verifier::{
    AcceptedEvidence, AgentStatus, AmendError, AttestationStatus, CommandError, Deletion, EngineAppraiser, EnrolAgent,
    EnrolError, EvidenceError, JudgedEvidence, PresentedEvidence, PushError, Selector,
};
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex, Stage, WallMicros};
use keylime_engine::evidence::field_error::FieldError;
use keylime_engine::evidence::offer::Offer;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::Refusal;
use keylime_gateway::backend::{RegistrarBackend, VerifierBackend};
use keylime_gateway::routes::{RegistrarState, VerifierSettings, VerifierState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Policies in memory; nothing else.
#[derive(Default)]
pub struct PolicyStore {
    runtime: Mutex<BTreeMap<String, NewRuntimePolicy>>,
    boot: Mutex<BTreeMap<String, NewBootPolicy>>,
    /// Attestation keys of enrolled agents, base64 of a TPM2B_PUBLIC.
    pub keys: Mutex<BTreeMap<String, String>>,
    /// Agents using a policy, by its name.
    pub users: Mutex<BTreeMap<String, String>>,
    /// No agent can be read.
    pub away: AtomicBool,
}

impl PolicyStore {
    fn unused(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.users.lock().unwrap().get(name).map_or(Ok(()), |agent| Err(PolicyStoreError::InUse(agent.clone())))
    }

    fn users_of(&self, name: &str) -> Vec<AgentId> {
        self.users.lock().unwrap().get(name).map(|agent| AgentId::parse(agent).unwrap()).into_iter().collect()
    }
}

#[async_trait]
impl VerifierStore for PolicyStore {
    async fn agents_page(&self, _: Option<&str>, _: Option<&str>, _: u64) -> Result<AgentPage, StoreError> {
        Ok(AgentPage::default())
    }
    async fn agent(&self, agent_id: &str) -> Result<Option<AgentRecord>, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("scripted".to_owned()));
        }
        Ok(self.keys.lock().unwrap().get(agent_id).map(|key| record(agent_id, key)))
    }
    async fn agent_ids(&self, _: Option<&str>) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn write(&self, batch: Vec<VerifierWrite>) -> Result<Vec<WriteOutcome>, StoreError> {
        Ok(batch.iter().map(|_| WriteOutcome::Written).collect())
    }
    async fn runtime_policy_by_id(&self, _: i32) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        Ok(None)
    }
    async fn runtime_policy(&self, name: &str) -> Result<Option<RuntimePolicyRecord>, StoreError> {
        Ok(self.runtime.lock().unwrap().get(name).map(|policy| RuntimePolicyRecord {
            id: 1,
            name: policy.name.clone(),
            text: policy.text.clone(),
            checksum: policy.checksum.clone(),
            generator: policy.generator,
            tpm_policy: policy.tpm_policy.clone(),
        }))
    }
    async fn runtime_policy_names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.runtime.lock().unwrap().keys().cloned().collect())
    }
    async fn create_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<(), PolicyStoreError> {
        let mut policies = self.runtime.lock().unwrap();
        if policies.contains_key(&policy.name) {
            return Err(PolicyStoreError::Exists);
        }
        policies.insert(policy.name.clone(), policy);
        Ok(())
    }
    async fn update_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        let users = self.users_of(&policy.name);
        match self.runtime.lock().unwrap().get_mut(&policy.name) {
            Some(stored) => *stored = policy,
            None => return Err(PolicyStoreError::Missing),
        }
        Ok(users)
    }
    async fn delete_runtime_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.unused(name)?;
        self.runtime.lock().unwrap().remove(name).map(drop).ok_or(PolicyStoreError::Missing)
    }
    async fn boot_policy_by_id(&self, _: i32) -> Result<Option<BootPolicyRecord>, StoreError> {
        Ok(None)
    }
    async fn boot_policy(&self, name: &str) -> Result<Option<BootPolicyRecord>, StoreError> {
        Ok(self.boot.lock().unwrap().get(name).map(|policy| BootPolicyRecord {
            id: 1,
            name: policy.name.clone(),
            text: policy.text.clone(),
        }))
    }
    async fn boot_policy_names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.boot.lock().unwrap().keys().cloned().collect())
    }
    async fn create_boot_policy(&self, policy: NewBootPolicy) -> Result<(), PolicyStoreError> {
        let mut policies = self.boot.lock().unwrap();
        if policies.contains_key(&policy.name) {
            return Err(PolicyStoreError::Exists);
        }
        policies.insert(policy.name.clone(), policy);
        Ok(())
    }
    async fn update_boot_policy(&self, policy: NewBootPolicy) -> Result<Vec<AgentId>, PolicyStoreError> {
        let users = self.users_of(&policy.name);
        match self.boot.lock().unwrap().get_mut(&policy.name) {
            Some(stored) => *stored = policy,
            None => return Err(PolicyStoreError::Missing),
        }
        Ok(users)
    }
    async fn delete_boot_policy(&self, name: &str) -> Result<(), PolicyStoreError> {
        self.unused(name)?;
        self.boot.lock().unwrap().remove(name).map(drop).ok_or(PolicyStoreError::Missing)
    }
    async fn stated_policies(&self, _: &[i32], _: &[i32]) -> Result<StatedPolicies, StoreError> {
        Ok(StatedPolicies::default())
    }
    async fn outbox_pending(&self, _: u64) -> Result<Vec<OutboxRow>, StoreError> {
        Ok(Vec::new())
    }
}

/// A verifier whose agents do nothing.
pub struct ScriptedVerifier {
    pub agents: Mutex<BTreeMap<String, AgentStatus>>,
    pub enrolled: Mutex<Vec<EnrolAgent>>,
    pub changed: Mutex<Vec<AgentId>>,
    pub amended: Mutex<Vec<AgentAmendment>>,
    /// What stands against every change of an agent.
    pub amend_refusal: Mutex<Option<AmendError>>,
    /// How long a status or a deletion takes.
    pub delay: Duration,
    /// The database is away.
    pub away: bool,
    /// What stands against every push agent's request.
    pub refusal: Mutex<Option<Refusal>>,
    /// Evidence that was sent: index, and the evidence.
    pub sent: Mutex<Vec<Sent>>,
    pub policies: Arc<PolicyStore>,
    pub store: Arc<dyn VerifierStore>,
}

/// Index of the attestation and the evidence, as the gateway handed them over.
type Sent = (Option<String>, Option<Option<Value>>);

impl Default for ScriptedVerifier {
    fn default() -> Self {
        let policies = Arc::new(PolicyStore::default());
        Self {
            agents: Mutex::default(),
            enrolled: Mutex::default(),
            changed: Mutex::default(),
            amended: Mutex::default(),
            amend_refusal: Mutex::default(),
            delay: Duration::ZERO,
            away: false,
            refusal: Mutex::default(),
            sent: Mutex::default(),
            store: Arc::clone(&policies) as Arc<dyn VerifierStore>,
            policies,
        }
    }
}

impl ScriptedVerifier {
    pub fn with_agents(ids: impl IntoIterator<Item = String>) -> Self {
        let verifier = Self::default();
        verifier.agents.lock().unwrap().extend(ids.into_iter().map(|id| (id.clone(), status(&id))));
        verifier
    }

    fn admit(&self, agent_id: &AgentId) -> Result<(), PushError> {
        self.reachable()?;
        if !self.agents.lock().unwrap().contains_key(agent_id.as_str()) {
            return Err(PushError::NotEnrolled);
        }
        self.refusal.lock().unwrap().clone().map_or(Ok(()), |refusal| Err(PushError::Refused(refusal)))
    }

    fn reachable(&self) -> Result<(), StoreError> {
        if self.away { Err(StoreError::Unavailable("scripted".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl VerifierBackend for ScriptedVerifier {
    async fn enrol(&self, request: EnrolAgent) -> Result<(), EnrolError> {
        self.reachable()?;
        let id = request.agent_id.as_str().to_owned();
        if self.agents.lock().unwrap().contains_key(&id) {
            return Err(EnrolError::AgentExists);
        }
        self.agents.lock().unwrap().insert(id.clone(), status(&id));
        self.enrolled.lock().unwrap().push(request);
        Ok(())
    }
    async fn amend(&self, agent_id: &AgentId, changes: AgentAmendment) -> Result<(), AmendError> {
        if let Some(refusal) = self.amend_refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let mut agents = self.agents.lock().unwrap();
        let status = agents.get_mut(agent_id.as_str()).ok_or(CommandError::NotFound)?;
        if let Some(policy) = &changes.tpm_policy {
            status.tpm_policy.clone_from(policy);
        }
        self.amended.lock().unwrap().push(changes);
        Ok(())
    }
    async fn status(&self, agent_id: &AgentId) -> Result<Option<AgentStatus>, StoreError> {
        tokio::time::sleep(self.delay).await;
        self.reachable()?;
        Ok(self.agents.lock().unwrap().get(agent_id.as_str()).cloned())
    }
    async fn statuses(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AgentStatus>, StoreError> {
        self.reachable()?;
        let agents = self.agents.lock().unwrap();
        let matching = agents.values().filter(|a| verifier_id.is_none_or(|id| a.verifier_id == id));
        Ok(matching.filter(|a| after.is_none_or(|id| a.agent_id.as_str() > id)).take(limit).cloned().collect())
    }
    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.reachable()?;
        let agents = self.agents.lock().unwrap();
        let matching = agents.values().filter(|a| verifier_id.is_none_or(|id| a.verifier_id == id));
        Ok(matching.map(|agent| agent.agent_id.clone()).collect())
    }
    async fn delete(&self, agent_id: &AgentId) -> Result<Deletion, CommandError> {
        tokio::time::sleep(self.delay).await;
        self.reachable()?;
        match self.agents.lock().unwrap().remove(agent_id.as_str()) {
            Some(_) => Ok(Deletion::Done),
            None => Err(CommandError::NotFound),
        }
    }
    async fn reactivate(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        self.agents.lock().unwrap().get(agent_id.as_str()).map(drop).ok_or(CommandError::NotFound)
    }
    async fn stop(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        self.agents.lock().unwrap().get(agent_id.as_str()).map(drop).ok_or(CommandError::NotFound)
    }
    async fn open_attestation(
        &self,
        agent_id: &AgentId,
        offer: Result<Offer, Vec<FieldError>>,
    ) -> Result<Arc<Attestation>, PushError> {
        self.admit(agent_id)?;
        offer.map(|_| Arc::new(attestation())).map_err(|errors| PushError::Refused(Refusal::Invalid(errors)))
    }
    async fn submit_evidence(
        &self,
        agent_id: &AgentId,
        index: Option<&str>,
        evidence: Option<Option<Value>>,
    ) -> Result<AcceptedEvidence, PushError> {
        self.admit(agent_id)?;
        self.sent.lock().unwrap().push((index.map(str::to_owned), evidence));
        Ok(AcceptedEvidence { attestation: Arc::new(attestation()), seconds_to_next: 3 })
    }
    async fn attestations(&self, agent_id: &AgentId) -> Result<Option<Vec<Attestation>>, StoreError> {
        self.reachable()?;
        let is_known = self.agents.lock().unwrap().contains_key(agent_id.as_str());
        Ok(is_known.then(|| vec![Attestation { index: AttestationIndex(8), ..attestation() }, attestation()]))
    }
    async fn attestation(
        &self,
        agent_id: &AgentId,
        selector: Selector,
    ) -> Result<Option<Option<Attestation>>, StoreError> {
        self.reachable()?;
        let is_known = self.agents.lock().unwrap().contains_key(agent_id.as_str());
        let is_there = selector != Selector::Index(AttestationIndex(9));
        Ok(is_known.then(|| is_there.then(attestation)))
    }
    async fn appraise_evidence(&self, evidence: PresentedEvidence) -> Result<JudgedEvidence, EvidenceError> {
        OneShot::new(CpuPool::inline(), 1, Arc::new(EngineAppraiser::default())).judge(evidence).await
    }
    async fn policy_changed(&self, agents: Vec<AgentId>) {
        self.changed.lock().unwrap().extend(agents);
    }
    fn store(&self) -> &Arc<dyn VerifierStore> {
        &self.store
    }
    fn ready(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// The state of a verifier's handlers over a backend.
pub fn verifier_state(backend: Arc<ScriptedVerifier>) -> VerifierState {
    let sessions = sessions(SessionOptions::default(), Arc::clone(&backend.store), Arc::new(MemorySessions::default()));
    VerifierState { backend, sessions, settings: settings() }
}

/// Keylime's defaults.
pub fn settings() -> VerifierSettings {
    VerifierSettings {
        ip: "127.0.0.1".to_owned(),
        port: 8881,
        mode: keylime_gateway::configuration::Mode::Pull,
        agent_mtls: true,
        quote_interval: 2.0,
        policy_signatures_required: false,
        signing_keys: PathBuf::from("/nonexistent"),
    }
}

/// The row of an agent with this attestation key.
fn record(id: &str, key: &str) -> AgentRecord {
    AgentRecord {
        supported_version: "3.0".to_owned(),
        ak_tpm: key.to_owned(),
        ..AgentRecord::fresh(AgentId::parse(id).unwrap())
    }
}

/// An attestation that nothing was asked for in.
pub fn attestation() -> Attestation {
    Attestation {
        index: AttestationIndex(7),
        stage: Stage::AwaitingEvidence,
        boot_time: Some(1_767_225_600_000_000),
        capabilities_received: WallMicros(1_767_225_601_000_002),
        challenges_expire: Some(WallMicros(1_767_227_401_000_002)),
        evidence_received: None,
        verification_completed: None,
        items: Vec::new(),
    }
}

/// An agent that is attested, as the golden files show one.
pub fn status(id: &str) -> AgentStatus {
    let texts = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
    AgentStatus {
        agent_id: id.to_owned(),
        operational_state: Some(3),
        v: Some("R1cdHIqvUOHsSfBifu6tf9yGyIDpQo4Cbqoi5w2WI0k=".to_owned()),
        ip: Some("127.0.0.1".to_owned()),
        port: Some(31896),
        tpm_policy: "{\"mask\": \"0x400\"}".to_owned(),
        meta_data: "{}".to_owned(),
        has_mb_refstate: false,
        has_runtime_policy: true,
        accept_tpm_hash_algs: texts(&["sha512", "sha384", "sha256"]),
        accept_tpm_encryption_algs: texts(&["ecc", "rsa"]),
        accept_tpm_signing_algs: texts(&["ecschnorr", "rsassa"]),
        hash_alg: "sha256".to_owned(),
        enc_alg: "rsa2048".to_owned(),
        sign_alg: "rsassa".to_owned(),
        verifier_id: "default".to_owned(),
        verifier_ip: "127.0.0.1".to_owned(),
        verifier_port: 31897,
        severity_level: None,
        last_event_id: None,
        attestation_count: 148,
        last_received_quote: 1_795_432_813,
        last_successful_attestation: 1_795_432_813,
        attestation_status: AttestationStatus::Pass,
        failure_details: Vec::new(),
        explanations: Vec::new(),
        quarantined: false,
    }
}

/// A registrar that accepts everything.
#[derive(Default)]
pub struct ScriptedRegistrar {
    pub registered: Mutex<Vec<RegisterAgent>>,
}

#[async_trait]
impl RegistrarBackend for ScriptedRegistrar {
    async fn register(&self, request: RegisterAgent) -> Result<String, RegisterError> {
        self.registered.lock().unwrap().push(request);
        Ok("blob".to_owned())
    }
    async fn activate(&self, _: &str, auth_tag: &str) -> Result<(), ActivateError> {
        if auth_tag == "right" { Ok(()) } else { Err(ActivateError::WrongTag) }
    }
    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError> {
        let known = agent_id == "active" || agent_id == "inactive";
        Ok(known.then(|| RegistrationRecord {
            agent_id: agent_id.to_owned(),
            active: agent_id == "active",
            regcount: 1,
            ..RegistrationRecord::default()
        }))
    }
    async fn registration_ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(vec!["active".to_owned(), "inactive".to_owned()])
    }
    async fn delete(&self, agent_id: &str) -> Result<(), DeleteError> {
        if agent_id == "active" { Ok(()) } else { Err(DeleteError::NotFound) }
    }
    fn ready(&self) -> bool {
        true
    }
}

pub fn registrar_state(backend: Arc<ScriptedRegistrar>) -> RegistrarState {
    RegistrarState { backend }
}
