#![allow(dead_code, reason = "each test binary uses a part of it")]
//! A verifier system on paused time: one arbiter, an in-memory database, scripted agents and a scripted appraisal.

pub mod memory_store;
pub mod scripted_appraiser;
pub mod scripted_fleet;

use keylime_actors::ports::{
    AgentRecord, NewBootPolicy, NewRuntimePolicy, OutboxRow, PolicyChoice, RevocationComposer,
};
use keylime_actors::runtime::clock::TokioClock;
use keylime_actors::runtime::entropy::SeededEntropy;
use keylime_actors::verifier::{
    AgentStatus, AgentTls, EnrolAgent, Shards, VerifierHandle, VerifierOptions, VerifierPorts, start,
};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::Notice;
use keylime_engine::time::Now;
use keylime_engine::verdict::SeverityPolicy;
use memory_store::MemoryStore;
use scripted_appraiser::ScriptedAppraiser;
use scripted_fleet::ScriptedFleet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The start of time in tests, milliseconds since the epoch.
pub const EPOCH_MILLIS: u64 = 1_700_000_000_000;

/// Everything a scenario works with.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub fleet: Arc<ScriptedFleet>,
    pub handle: VerifierHandle,
}

/// Runs a scenario on a paused current-thread runtime.
pub fn scenario<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("test runtime");
    actix_rt::System::with_tokio_rt(runtime).block_on(body());
}

/// Options with an interval of two seconds and a severity policy that tolerates PCR failures.
pub fn options() -> VerifierOptions {
    let labels = ["low", "high"].map(String::from).to_vec();
    let rules = [("pcr_validation.*".to_owned(), "low".to_owned()), (".*".to_owned(), "high".to_owned())];
    VerifierOptions {
        shards: Shards::CurrentArbiter,
        cpu_threads: 0,
        severity: SeverityPolicy::new(labels, &rules).expect("a severity policy"),
        ..VerifierOptions::default()
    }
}

impl World {
    /// A verifier with an empty database.
    pub fn new() -> Self {
        Self::with(options(), Arc::new(MemoryStore::default()))
    }

    /// A verifier on a database that may hold agents.
    pub fn with(options: VerifierOptions, store: Arc<MemoryStore>) -> Self {
        let fleet = Arc::new(ScriptedFleet::default());
        let handle = start_on(options, Arc::clone(&store), Arc::clone(&fleet));
        Self { store, fleet, handle }
    }

    /// Enrols an agent that answers at `name`.
    pub async fn enrol(&self, name: &str) -> AgentId {
        self.enrol_with(enrolment(name)).await
    }

    /// Enrols an agent.
    pub async fn enrol_with(&self, request: EnrolAgent) -> AgentId {
        let agent_id = request.agent_id.clone();
        self.handle.enrol(request).await.expect("an enrolment");
        agent_id
    }

    /// The status of an agent that must exist.
    pub async fn status(&self, agent_id: &AgentId) -> AgentStatus {
        self.handle.status(agent_id).await.expect("the store answers").expect("the agent exists")
    }

    /// The stored row.
    pub fn row(&self, agent_id: &AgentId) -> Option<AgentRecord> {
        self.store.row(agent_id)
    }
}

/// Another verifier on the same database, as after a restart.
pub fn start_on(options: VerifierOptions, store: Arc<MemoryStore>, fleet: Arc<ScriptedFleet>) -> VerifierHandle {
    let ports = VerifierPorts {
        store,
        transport: fleet,
        composer: Arc::new(PlainComposer),
        appraiser: Arc::new(ScriptedAppraiser),
        clock: Arc::new(TokioClock::starting_at(EPOCH_MILLIS)),
        entropy: Arc::new(SeededEntropy::new(42)),
    };
    start(options, AgentTls::Disabled, ports).expect("the verifier starts")
}

/// An enrolment without key share and policies.
pub fn enrolment(name: &str) -> EnrolAgent {
    EnrolAgent {
        agent_id: AgentId::parse(name).expect("an agent id"),
        v: None,
        ip: Some("10.0.0.1".to_owned()),
        port: Some(9002),
        verifier_ip: "127.0.0.1".to_owned(),
        verifier_port: 8881,
        tpm_policy: r#"{"mask": "0x400"}"#.to_owned(),
        meta_data: "{}".to_owned(),
        runtime_policy: PolicyChoice::StoredOrNew(NewRuntimePolicy {
            name: name.to_owned(),
            text: None,
            checksum: String::new(),
            generator: 1,
            tpm_policy: None,
        }),
        boot_policy: PolicyChoice::StoredOrNew(NewBootPolicy { name: name.to_owned(), text: None }),
        ima_sign_verification_keys: String::new(),
        revocation_key: String::new(),
        accept_tpm_hash_algs: vec!["sha256".to_owned()],
        accept_tpm_encryption_algs: vec!["rsa".to_owned()],
        accept_tpm_signing_algs: vec!["rsassa".to_owned()],
        ak_tpm: scripted_appraiser::AK.to_owned(),
        mtls_cert: None,
        supported_version: "2.5".to_owned(),
    }
}

/// Lets time pass.
pub async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Composes rows without signature.
pub struct PlainComposer;

impl RevocationComposer for PlainComposer {
    fn compose(&self, agent: &AgentRecord, notice: &Notice, label: &str, now: Now) -> Result<OutboxRow, String> {
        Ok(OutboxRow {
            id: uuid::Uuid::from_u128(u128::from(now.at.0) << 64 | u128::from(agent.attestation_count.unsigned_abs())),
            agent_id: agent.agent_id.clone(),
            kind: notice.kind.text().to_owned(),
            severity_label: label.to_owned(),
            body: notice.failure.event_id(),
            created_us: 0,
            pending: vec!["amqp".to_owned()],
        })
    }

    fn committed(&self) {}
}
