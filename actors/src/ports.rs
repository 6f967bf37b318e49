//! What the actors ask of the outside world, as traits: stores, evidence transport, revocation sinks, time and entropy.

mod amendment;

pub use amendment::AgentAmendment;

use crate::runtime::admission::Permit;
use async_trait::async_trait;
use bytes::Bytes;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex, WallMicros};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::lifecycle::{Notice, Occurrence};
use keylime_engine::time::Now;
use keylime_engine::verdict::Explanation;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Why a store could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is away, overloaded or refuses; trying again later may succeed.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The data or the statement is wrong; trying again will not help.
    #[error("database error: {0}")]
    Internal(String),
    /// More than the database takes in one row; the text names how much and the setting of the server.
    #[error("{0}")]
    TooLong(String),
}

/// Content of one `allowlists` row that an agent uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimePolicyRecord {
    /// Primary key.
    pub id: i32,
    /// Unique name.
    pub name: String,
    /// Policy or DSSE envelope text exactly as it was sent; `None` means the empty policy.
    pub text: Option<Arc<str>>,
    /// SHA-256 of the text, lower-case hexadecimal.
    pub checksum: String,
    /// `meta.generator` of the policy.
    pub generator: i32,
    /// `tpm_policy` stored with the policy.
    pub tpm_policy: Option<String>,
}

/// Content of one `mbpolicies` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPolicyRecord {
    /// Primary key.
    pub id: i32,
    /// Unique name.
    pub name: String,
    /// Policy text; `None` and `""` mean no policy.
    pub text: Option<Arc<str>>,
}

/// One row of `verifiermain`, decoded. Policies are named by the id of their row.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct AgentRecord {
    pub agent_id: AgentId,
    pub v: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    pub operational_state: Option<i32>,
    pub public_key: String,
    pub tpm_policy: String,
    pub meta_data: String,
    pub runtime_policy_id: Option<i32>,
    pub boot_policy_id: Option<i32>,
    pub ima_sign_verification_keys: String,
    pub revocation_key: String,
    pub accept_tpm_hash_algs: Vec<String>,
    pub accept_tpm_encryption_algs: Vec<String>,
    pub accept_tpm_signing_algs: Vec<String>,
    pub hash_alg: String,
    pub enc_alg: String,
    pub sign_alg: String,
    pub verifier_id: String,
    pub verifier_ip: String,
    pub verifier_port: i32,
    pub boottime: i64,
    pub ima_pcrs: Vec<i64>,
    pub pcr10: Option<Vec<u8>>,
    pub next_ima_ml_entry: i64,
    pub learned_ima_keyrings: Value,
    pub severity_level: Option<i32>,
    pub last_event_id: Option<String>,
    pub supported_version: String,
    pub ak_tpm: String,
    pub mtls_cert: Option<String>,
    pub attestation_count: i64,
    pub last_received_quote: i64,
    pub last_successful_attestation: i64,
    pub tpm_clockinfo: Option<Value>,
    pub accept_attestations: bool,
    pub consecutive_attestation_failures: i32,
}

impl AgentRecord {
    /// The row of an agent of which nothing is known but its id (`verifier-v2.md` §3.1, initial row).
    #[must_use]
    pub fn fresh(agent_id: AgentId) -> Self {
        Self {
            agent_id,
            v: None,
            ip: None,
            port: None,
            operational_state: None,
            public_key: String::new(),
            tpm_policy: "{}".to_owned(),
            meta_data: "{}".to_owned(),
            runtime_policy_id: None,
            boot_policy_id: None,
            ima_sign_verification_keys: String::new(),
            revocation_key: String::new(),
            accept_tpm_hash_algs: Vec::new(),
            accept_tpm_encryption_algs: Vec::new(),
            accept_tpm_signing_algs: Vec::new(),
            hash_alg: String::new(),
            enc_alg: String::new(),
            sign_alg: String::new(),
            verifier_id: "default".to_owned(),
            verifier_ip: "127.0.0.1".to_owned(),
            verifier_port: 8881,
            boottime: 0,
            ima_pcrs: Vec::new(),
            pcr10: None,
            next_ima_ml_entry: 0,
            learned_ima_keyrings: Value::Object(serde_json::Map::new()),
            severity_level: None,
            last_event_id: None,
            supported_version: String::new(),
            ak_tpm: String::new(),
            mtls_cert: None,
            attestation_count: 0,
            last_received_quote: 0,
            last_successful_attestation: 0,
            tpm_clockinfo: None,
            accept_attestations: true,
            consecutive_attestation_failures: 0,
        }
    }
}

/// How an enrolment names or brings its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChoice<N> {
    /// Use the stored policy with this name.
    Stored(String),
    /// Store this policy and use it; its name must not exist yet.
    New(N),
    /// Use the stored policy with this name when there is one, else store this one under it (Keylime's rule for policies
    /// that are named after their agent).
    StoredOrNew(N),
    /// Store this policy and use it, in the place of one of this name that no other agent uses.
    Own(N),
}

/// A runtime policy to store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct NewRuntimePolicy {
    pub name: String,
    pub text: Option<Arc<str>>,
    pub checksum: String,
    pub generator: i32,
    pub tpm_policy: Option<String>,
}

/// A measured boot policy to store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct NewBootPolicy {
    pub name: String,
    pub text: Option<Arc<str>>,
}

/// One change to the verifier's database. A batch of them is one transaction; each gets its own [`WriteOutcome`].
#[derive(Debug, Clone)]
pub enum VerifierWrite {
    /// Stores an agent and, if new, its policies. Outcome: `Enrolled`, `AgentExists`, `RuntimePolicyExists`,
    /// `RuntimePolicyMissing`, `BootPolicyExists`, `BootPolicyMissing`; anything but `Enrolled` leaves no trace.
    Enrol {
        /// The row; its policy ids are filled in by the store.
        agent: Box<AgentRecord>,
        /// The runtime policy.
        runtime_policy: PolicyChoice<NewRuntimePolicy>,
        /// The measured boot policy.
        boot_policy: PolicyChoice<NewBootPolicy>,
    },
    /// Writes the columns that attestation changes, unless the stored state is 8 (Terminated) or 10 (stopped), together
    /// with the revocations of this transition. Outcome: `Written` or `Gone` (with the stored state, if any).
    Progress {
        /// The columns; identity, policies and enrolment data are not touched.
        progress: Box<AgentProgress>,
        /// Rows for the revocation outbox, stored in the same transaction and only if the row was written.
        outbox: Vec<OutboxRow>,
    },
    /// Changes what an agent was enrolled with, and its policies. Outcome: `Written`, `Gone`, `RuntimePolicyExists`,
    /// `RuntimePolicyMissing`, `BootPolicyExists`, `BootPolicyMissing`; anything but `Written` leaves no trace.
    Amend {
        /// The agent.
        agent_id: AgentId,
        /// The changes.
        changes: Box<AgentAmendment>,
    },
    /// Sets `operational_state` whatever the stored state is. Outcome: `Written` or `Gone`.
    SetState {
        /// The agent.
        agent_id: AgentId,
        /// The new code, `None` for push agents.
        state: Option<i32>,
    },
    /// Deletes an agent, its attestations and evidence, and the policy rows named like it that nobody else uses.
    /// Outcome: `Written` or `Gone`.
    Delete {
        /// The agent.
        agent_id: AgentId,
    },
    /// Stores that evidence of a push agent came, with the evidence. Outcome: `Written` or `Gone`.
    ReceiveEvidence {
        /// The agent.
        agent_id: AgentId,
        /// Its attestation.
        attestation: Arc<Attestation>,
        /// Whether rows of an earlier try may be there.
        occurrence: Occurrence,
    },
    /// Stores the verdict on stored evidence, with everything that follows from it; guarded as `Progress` is. Outcome:
    /// `Written` or `Gone`.
    Conclude {
        /// The agent's columns.
        progress: Box<AgentProgress>,
        /// The judged attestation.
        attestation: Arc<Attestation>,
        /// Attestations to delete.
        prune: Vec<AttestationIndex>,
        /// Rows for the revocation outbox.
        outbox: Vec<OutboxRow>,
    },
    /// Deletes one attestation with its evidence. Outcome: `Written` or `Gone`.
    DiscardAttestation {
        /// The agent.
        agent_id: AgentId,
        /// The attestation.
        index: AttestationIndex,
    },
    /// Marks outbox deliveries as done. Outcome: `Written`.
    OutboxDelivered {
        /// The row and the notifier.
        id: Uuid,
        /// The notifier that confirmed it.
        notifier: &'static str,
    },
}

/// The columns of `verifiermain` that attestation changes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct AgentProgress {
    pub agent_id: AgentId,
    pub operational_state: Option<i32>,
    pub public_key: Arc<str>,
    pub hash_alg: Arc<str>,
    pub enc_alg: Arc<str>,
    pub sign_alg: Arc<str>,
    pub supported_version: Arc<str>,
    pub boottime: i64,
    pub ima_pcrs: Vec<i64>,
    pub pcr10: Option<Vec<u8>>,
    pub next_ima_ml_entry: i64,
    pub learned_ima_keyrings: Value,
    pub severity_level: Option<i32>,
    pub last_event_id: Option<String>,
    pub attestation_count: i64,
    pub last_received_quote: i64,
    pub last_successful_attestation: i64,
    pub tpm_clockinfo: Option<Value>,
    pub accept_attestations: bool,
    pub consecutive_attestation_failures: i32,
    /// Stored beside the columns, in a table of our own.
    pub explanations: ExplanationChange,
}

/// What becomes of the stored explanation of an agent's last failure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExplanationChange {
    /// Nothing.
    #[default]
    Keep,
    /// It goes: the agent passed.
    Clear,
    /// The agent failed, for these reasons.
    Replace(Arc<[Explanation]>),
}

/// A committed revocation notice that waits for its notifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Event id; message id at every broker, so that consumers can drop doubles.
    pub id: Uuid,
    /// The agent concerned; order is kept per agent.
    pub agent_id: AgentId,
    /// `revocation` or `comm_error`.
    pub kind: String,
    /// Severity label.
    pub severity_label: String,
    /// Keylime's outer JSON: `{"msg": …, "signature": …}`.
    pub body: String,
    /// Creation time, microseconds since the epoch.
    pub created_us: i64,
    /// Notifiers that have not confirmed yet.
    pub pending: Vec<String>,
}

/// What became of one [`VerifierWrite`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "explained at VerifierWrite")]
pub enum WriteOutcome {
    Enrolled {
        runtime_policy_id: Option<i32>,
        boot_policy_id: Option<i32>,
    },
    AgentExists,
    RuntimePolicyExists(String),
    RuntimePolicyMissing(String),
    BootPolicyExists(String),
    BootPolicyMissing(String),
    Written,
    Gone {
        stored_state: Option<i32>,
    },
    /// The database cannot hold this row, for the reason given (a text longer than its column on PostgreSQL or MySQL);
    /// the rest of the batch is not affected, and trying again will not help.
    Refused(String),
}

/// Why a policy could not be changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PolicyStoreError {
    /// A policy with this name exists.
    #[error("a policy with this name exists")]
    Exists,
    /// No policy with this name exists.
    #[error("no policy with this name exists")]
    Missing,
    /// Agents use the policy; the first of them.
    #[error("the policy is in use by agent {0}")]
    InUse(String),
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The verifier's database.
#[async_trait]
pub trait VerifierStore: Send + Sync + 'static {
    /// Up to `limit` agents with an id greater than `after`, in the order of ids, of this verifier only when
    /// `verifier_id` is given. A row that cannot be decoded is reported by its id and never hides the others.
    async fn agents_page(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<AgentPage, StoreError>;
    /// One agent.
    async fn agent(&self, agent_id: &str) -> Result<Option<AgentRecord>, StoreError>;
    /// Ids of all agents, of this verifier only when `verifier_id` is given.
    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError>;
    /// Applies a batch in one transaction; the outcomes have the order of the writes.
    async fn write(&self, batch: Vec<VerifierWrite>) -> Result<Vec<WriteOutcome>, StoreError>;

    /// The runtime policy row with this primary key.
    async fn runtime_policy_by_id(&self, id: i32) -> Result<Option<RuntimePolicyRecord>, StoreError>;
    /// The runtime policy with this name.
    async fn runtime_policy(&self, name: &str) -> Result<Option<RuntimePolicyRecord>, StoreError>;
    /// Names of all runtime policies.
    async fn runtime_policy_names(&self) -> Result<Vec<String>, StoreError>;
    /// Stores a runtime policy.
    async fn create_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<(), PolicyStoreError>;
    /// Replaces a runtime policy; answers the ids of the agents that use it.
    async fn update_runtime_policy(&self, policy: NewRuntimePolicy) -> Result<Vec<AgentId>, PolicyStoreError>;
    /// Deletes a runtime policy that no agent uses.
    async fn delete_runtime_policy(&self, name: &str) -> Result<(), PolicyStoreError>;

    /// The boot policy row with this primary key.
    async fn boot_policy_by_id(&self, id: i32) -> Result<Option<BootPolicyRecord>, StoreError>;
    /// The boot policy with this name.
    async fn boot_policy(&self, name: &str) -> Result<Option<BootPolicyRecord>, StoreError>;
    /// Names of all boot policies.
    async fn boot_policy_names(&self) -> Result<Vec<String>, StoreError>;
    /// Stores a boot policy.
    async fn create_boot_policy(&self, policy: NewBootPolicy) -> Result<(), PolicyStoreError>;
    /// Replaces a boot policy; answers the ids of the agents that use it.
    async fn update_boot_policy(&self, policy: NewBootPolicy) -> Result<Vec<AgentId>, PolicyStoreError>;
    /// Deletes a boot policy that no agent uses.
    async fn delete_boot_policy(&self, name: &str) -> Result<(), PolicyStoreError>;

    /// Which of these policies say anything, without reading what.
    async fn stated_policies(&self, runtime: &[i32], boot: &[i32]) -> Result<StatedPolicies, StoreError>;

    /// What is stored of the attestations of these agents, without evidence, in no particular order.
    async fn attestation_summaries(
        &self,
        _agent_ids: &[&str],
    ) -> Result<Vec<(AgentId, StoredAttestation)>, StoreError> {
        Ok(Vec::new())
    }
    /// The newest attestations of an agent with their evidence, at most `limit`, newest first. One that cannot be decoded
    /// is left out.
    async fn attestations(&self, _agent_id: &str, _limit: u64) -> Result<Vec<Attestation>, StoreError> {
        Ok(Vec::new())
    }
    /// One attestation with its evidence.
    async fn attestation(&self, _agent_id: &str, _index: AttestationIndex) -> Result<Option<Attestation>, StoreError> {
        Ok(None)
    }

    /// The failures of an agent's last attestation, as they were stored with its verdict; none after a pass.
    async fn explanations(&self, _agent_id: &str) -> Result<Vec<Explanation>, StoreError> {
        Ok(Vec::new())
    }

    /// Oldest outbox rows that still wait for a notifier, in the order in which they were committed.
    async fn outbox_pending(&self, limit: u64) -> Result<Vec<OutboxRow>, StoreError>;
    /// Oldest outbox rows that still wait for `notifier`, in the order in which they were committed; rows that only others
    /// wait for neither count nor appear. Stores that can select by notifier override this.
    async fn outbox_pending_for(&self, notifier: &str, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        let mut window = limit.max(1);
        loop {
            let rows = self.outbox_pending(window).await?;
            let exhausted = (rows.len() as u64) < window;
            let mut rows: Vec<OutboxRow> =
                rows.into_iter().filter(|row| row.pending.iter().any(|name| name == notifier)).collect();
            if exhausted || rows.len() as u64 >= limit {
                rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                return Ok(rows);
            }
            window = window.saturating_mul(2);
        }
    }
}

/// Policies that say anything, by their primary keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatedPolicies {
    /// Runtime policies that a tenant supplied.
    pub runtime: HashSet<i32>,
    /// Boot policies that have a text, be it empty.
    pub boot: HashSet<i32>,
}

/// `generator` of the runtime policy that stands for none (`verifier-v2.md` §3.1).
pub const EMPTY_POLICY: i32 = 1;

/// A page of agents.
#[derive(Debug, Clone, Default)]
pub struct AgentPage {
    /// The agents that could be decoded.
    pub agents: Vec<AgentRecord>,
    /// (agent id, reason) of rows that could not.
    pub bad: Vec<(String, String)>,
    /// The last id looked at; `None` when there are no more.
    pub next: Option<String>,
}

/// One row of `registrarmain`, decoded.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the fields are the columns of registrar.md §5")]
pub struct RegistrationRecord {
    pub agent_id: String,
    pub key: Option<String>,
    pub aik_tpm: Option<String>,
    pub ek_tpm: Option<String>,
    pub ekcert: Option<String>,
    pub iak_tpm: Option<String>,
    pub iak_cert: Option<String>,
    pub idevid_tpm: Option<String>,
    pub idevid_cert: Option<String>,
    pub mtls_cert: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    pub regcount: i32,
    pub active: bool,
    pub is_virtual: Option<bool>,
    pub provider_keys: Option<Value>,
}

/// What became of a write to the registrar's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// The row was written.
    Written,
    /// The identity columns (`ek_tpm`, `ekcert`, `aik_tpm`, `regcount`) are no longer the ones the caller saw, or another
    /// registration created the row first.
    Conflict,
    /// The database cannot hold this row, for the reason given (a text longer than its column on PostgreSQL or MySQL);
    /// the rest of the batch is not affected, and trying again will not help.
    Refused(String),
}

/// The registrar's database.
#[async_trait]
pub trait RegistrarStore: Send + Sync + 'static {
    /// One registration, active or not.
    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError>;
    /// Ids of all registrations.
    async fn registration_ids(&self) -> Result<Vec<String>, StoreError>;
    /// Writes a batch of registrations in one transaction. `seen` is what the caller read before deciding; the statement
    /// itself compares it, so that of two racing identities exactly one wins (CVE-2025-13609).
    async fn register(
        &self,
        batch: Vec<(Option<RegistrationRecord>, RegistrationRecord)>,
    ) -> Result<Vec<RegistrationOutcome>, StoreError>;
    /// Deletes registrations; answers for each whether it existed.
    async fn delete(&self, agent_ids: Vec<String>) -> Result<Vec<bool>, StoreError>;
}

/// The present and randomness are asked for here, so that tests decide about both.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Now;

    /// The wall clock to the microsecond, for what is shown; clocks that do not know it answer whole seconds.
    fn wall_micros(&self) -> WallMicros {
        WallMicros(self.now().wall_seconds.saturating_mul(1_000_000))
    }
}

/// Lets an agent's token live on. Called after a good attestation was stored.
pub trait TokenExtension: Send + Sync + 'static {
    /// The agent has just proved itself.
    fn extend(&self, agent_id: &AgentId);
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Where an agent listens and how it proves that it is the enrolled one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentEndpoint {
    /// Host name or address; an IPv6 address without brackets.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// What its TLS certificate must be.
    pub trust: AgentTrust,
}

/// What an agent's TLS certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentTrust {
    /// mTLS is disabled: plain HTTP.
    Plain,
    /// The certificate with this SHA-256 digest, byte for byte, or one that chains to `trusted_server_ca`.
    Certificate([u8; 32]),
    /// One that chains to `trusted_server_ca`.
    Authorities,
}

/// One HTTP request to an agent.
#[derive(Debug)]
pub struct AgentCall {
    /// The agent; its connection is kept for its next request.
    pub agent_id: AgentId,
    /// Where it listens.
    pub endpoint: Arc<AgentEndpoint>,
    /// Path and query.
    pub path: String,
    /// Method, and body if any.
    pub method: AgentMethod,
    /// Held while a connection is being opened for the request, but no longer than an honest agent needs: one that is silent
    /// keeps no other from being asked.
    pub opening: Option<Permit>,
}

/// Method and body of an [`AgentCall`].
#[derive(Debug, Clone)]
pub enum AgentMethod {
    /// GET.
    Get,
    /// POST of this JSON text.
    PostJson(Bytes),
}

/// What came of an [`AgentCall`].
#[derive(Debug, Clone)]
pub enum AgentReply {
    /// An HTTP response with any status.
    Response {
        /// Its status.
        status: u16,
        /// Its body.
        body: Bytes,
    },
    /// No HTTP response.
    Unreachable(Unreachable),
}

/// Why there is no HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The address does not resolve, or nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The TLS handshake failed.
    #[error("tls handshake failed: {0}")]
    Tls(String),
    /// Its certificate is neither the registered one nor trusted.
    #[error("the agent's certificate is neither the registered one nor signed by trusted_server_ca: {0}")]
    Untrusted(String),
    /// It did not answer in time.
    #[error("no answer within the request timeout")]
    Timeout,
    /// The connection broke or what came is not HTTP.
    #[error("connection broken: {0}")]
    Broken(String),
    /// The response is larger than allowed.
    #[error("response larger than {0} bytes")]
    TooLarge(usize),
}

/// Carries requests to agents.
#[async_trait]
pub trait EvidenceTransport: Send + Sync + 'static {
    /// Sends a request and waits for the whole response; ends by itself after the configured request timeout.
    async fn send(&self, call: AgentCall) -> AgentReply;
    /// Whether the next request to an agent needs no new connection, as far as can be known.
    fn is_connected(&self, _agent_id: &AgentId) -> bool {
        true
    }
    /// Closes the kept connection of an agent that is not asked any more.
    fn forget(&self, agent_id: &AgentId);
}

/// Composes the message of a revocation notice and signs it.
pub trait RevocationComposer: Send + Sync + 'static {
    /// The outbox row for `notice` about the stored `agent`. `severity_label` is the operator's label of its severity.
    ///
    /// # Errors
    /// The agent's revocation key cannot be used; the text says why.
    fn compose(
        &self,
        agent: &AgentRecord,
        notice: &Notice,
        severity_label: &str,
        now: Now,
    ) -> Result<OutboxRow, String>;
    /// Called after rows were committed, so that they are published without waiting for the next round.
    fn committed(&self);
}
