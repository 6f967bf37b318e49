//! What all actors of one shard share; lives on the shard's thread.

use crate::persistence::batch_writer::BatchWriter;
use crate::ports::{AgentRecord, Clock, EvidenceTransport, RevocationComposer, TokenExtension, VerifierStore};
use crate::runtime::admission::Admission;
use crate::runtime::cpu_pool::CpuPool;
use crate::verifier::agent_material::AgentTls;
use crate::verifier::appraiser::Appraiser;
use crate::verifier::options::{AttestationModel, VerifierPorts};
use crate::verifier::policy_cache::PolicyCache;
use crate::verifier::shard_supervisor::ShardSupervisor;
use crate::verifier::shared_terms::SharedTerms;
use actix::Addr;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::lifecycle::{Entropy, MassTimeout, PullSettings, PullTerms, PushSettings};
use keylime_engine::time::Now;
use parking_lot::Mutex;
use std::cell::{Cell, OnceCell};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the whole verifier system shares; made once and handed to every shard.
#[derive(Clone)]
pub struct SystemContext {
    /// Store, transport, clock and so on.
    pub ports: VerifierPorts,
    /// The operator's settings of the state machine.
    pub settings: Arc<PullSettings>,
    /// The operator's settings of the state machine of push agents.
    pub push_settings: Arc<PushSettings>,
    /// Which agents are attested how.
    pub model: AttestationModel,
    /// Prolongs tokens, once somebody does.
    pub tokens: Arc<OnceLock<Arc<dyn TokenExtension>>>,
    /// Push agents that fell silent lately.
    pub silences: Arc<Mutex<MassTimeout>>,
    /// `uuid`.
    pub verifier_id: Arc<str>,
    /// `enable_agent_mtls`.
    pub agent_tls: AgentTls,
    /// The writer.
    pub writer: BatchWriter,
    /// Verification threads.
    pub pool: CpuPool,
    /// Permits for requests.
    pub admission: Admission,
    /// Permits for reading single rows: a fleet that asks all at once must not look like a database that is away.
    pub row_reads: Admission,
    /// Policies.
    pub policies: Arc<PolicyCache>,
    /// What agents have in common.
    pub shared: Arc<SharedTerms>,
    /// Number of live agent actors in all shards.
    pub live: Arc<AtomicUsize>,
}

/// The part of it that one shard adds.
pub struct ShardContext {
    /// Shared by all shards.
    pub system: SystemContext,
    /// Permits for opening connections to agents, which costs this shard's thread some milliseconds each.
    pub openings: Admission,
    /// No new requests: the verifier is stopping.
    pub draining: Cell<bool>,
    /// The shard's supervisor.
    pub supervisor: OnceCell<Addr<ShardSupervisor>>,
}

impl ShardContext {
    /// A context whose supervisor is not known yet.
    #[must_use]
    pub fn new(system: SystemContext) -> Self {
        Self { system, openings: Admission::new(OPENINGS), draining: Cell::new(false), supervisor: OnceCell::new() }
    }

    /// The present.
    pub fn now(&self) -> Now {
        self.clock().now()
    }

    /// Fresh randomness for one transition.
    pub fn entropy(&self) -> Entropy {
        let mut bytes = [0; Entropy::LEN];
        self.system.ports.entropy.fill(&mut bytes);
        Entropy(bytes)
    }

    /// The terms of a transition.
    pub fn terms(&self, has_share: bool) -> PullTerms<'_> {
        PullTerms { settings: &self.system.settings, has_share }
    }

    /// How long changes that may wait are held back in an actor: five quotes, but not longer than a minute.
    pub fn lazy_delay(&self) -> Duration {
        (self.system.settings.quote_interval * 5).clamp(Duration::from_secs(10), Duration::from_mins(1))
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.system.ports.clock
    }

    /// The database.
    pub fn store(&self) -> &Arc<dyn VerifierStore> {
        &self.system.ports.store
    }

    /// The way to the agents.
    pub fn transport(&self) -> &Arc<dyn EvidenceTransport> {
        &self.system.ports.transport
    }

    /// The composer of notices.
    pub fn composer(&self) -> &Arc<dyn RevocationComposer> {
        &self.system.ports.composer
    }

    /// The appraiser.
    pub fn appraiser(&self) -> &Arc<dyn Appraiser> {
        &self.system.ports.appraiser
    }

    /// The writer.
    pub fn writer(&self) -> &BatchWriter {
        &self.system.writer
    }
}

/// Connections to agents that a shard opens at a time: enough to keep its thread busy, few enough for each to be quick.
pub const OPENINGS: usize = 64;

/// A stored agent that is to be attested.
pub struct AgentSeed {
    /// How it is attested; with what is stored of its attestations when it sends them.
    pub line: Line,
    /// Its row.
    pub record: Box<AgentRecord>,
    /// How its first deadline is chosen.
    pub start: Start,
}

/// How an agent is attested.
pub enum Line {
    /// It is asked.
    Pull,
    /// It sends evidence.
    Push(Vec<StoredAttestation>),
}

/// How a first deadline is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At once: just enrolled, or restarted after a crash.
    AtOnce,
    /// Spread over the interval: one of many that are started together.
    Splayed,
}
