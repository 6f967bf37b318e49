//! What the verifier system is started with.

use crate::ports::{Clock, Entropy, EvidenceTransport, RevocationComposer, VerifierStore};
use crate::runtime::clock::SystemClock;
use crate::runtime::entropy::SystemEntropy;
use crate::verifier::appraiser::Appraiser;
use keylime_engine::lifecycle::push_transition::{FailureRecovery, TimeoutRecovery, TokenExtension};
use keylime_engine::lifecycle::{Growth, PullSettings, PushSettings, RetryBackoff};
use keylime_engine::measured_boot::BootPolicies;
use keylime_engine::verdict::SeverityPolicy;
use std::sync::Arc;
use std::time::Duration;

/// The operator's settings of the verifier system.
#[derive(Debug, Clone)]
pub struct VerifierOptions {
    /// `uuid`: agents of this verifier carry it as `verifier_id`.
    pub verifier_id: String,
    /// `quote_interval`.
    pub quote_interval: Duration,
    /// `retry_interval`, seconds.
    pub retry_interval: f64,
    /// `exponential_backoff`.
    pub growth: Growth,
    /// `max_retries`.
    pub max_retries: u32,
    /// `request_timeout`.
    pub request_timeout: Duration,
    /// `severity_labels` and `severity_policy`.
    pub severity: SeverityPolicy,
    /// `measured_boot_policy_name` and `measured_boot_imports`.
    pub boot_policies: BootPolicies,
    /// Arbiters that agents are spread over.
    pub shards: Shards,
    /// Threads for verification; 0 runs every job on the arbiter of its agent.
    pub cpu_threads: usize,
    /// Requests to agents that may be in flight at a time.
    pub max_in_flight: usize,
    /// Time between two comparisons of actors and rows.
    pub reconcile_interval: Duration,
    /// Which agents are attested how.
    pub model: AttestationModel,
    /// Options of push attestation.
    pub push: PushOptions,
}

/// Which agents are attested how (`mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttestationModel {
    /// Agents that were enrolled with an address are asked; others are not attested.
    Pull,
    /// All agents send their evidence.
    Push,
    /// Agents that were enrolled with an address are asked, others send their evidence.
    Both,
}

/// Options of push attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOptions {
    /// `challenge_lifetime`.
    pub challenge_lifetime: Duration,
    /// `verification_timeout`.
    pub verification_timeout: Duration,
    /// `auto_recover_attestation_failures`.
    pub failure_recovery: FailureRecovery,
    /// `timeout_recovery`.
    pub timeout_recovery: TimeoutRecovery,
    /// `extend_token_on_attestation`.
    pub token_extension: TokenExtension,
}

impl Default for PushOptions {
    /// Keylime's defaults.
    fn default() -> Self {
        Self {
            challenge_lifetime: Duration::from_mins(30),
            verification_timeout: Duration::ZERO,
            failure_recovery: FailureRecovery::Manual,
            timeout_recovery: TimeoutRecovery::Automatic,
            token_extension: TokenExtension::OnPass,
        }
    }
}

/// Where agents' actors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// On this number of threads of their own.
    Threads(usize),
    /// On the calling thread's arbiter: for tests with paused time.
    CurrentArbiter,
}

impl Default for VerifierOptions {
    /// Keylime's defaults, and a quarter of the machine's cores for shards, a half for verification.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            verifier_id: "default".to_owned(),
            quote_interval: Duration::from_secs(2),
            retry_interval: 2.0,
            growth: Growth::Exponential,
            max_retries: 5,
            request_timeout: Duration::from_mins(1),
            severity: SeverityPolicy::default(),
            boot_policies: BootPolicies::built_in(BootPolicies::ACCEPT_ALL),
            shards: Shards::Threads((cores / 4).max(1)),
            cpu_threads: (cores / 2).max(1),
            max_in_flight: 4096,
            reconcile_interval: Duration::from_mins(3),
            model: AttestationModel::Pull,
            push: PushOptions::default(),
        }
    }
}

impl VerifierOptions {
    /// The settings of the state machine among them.
    #[must_use]
    pub fn pull_settings(&self) -> PullSettings {
        PullSettings {
            quote_interval: self.quote_interval,
            request_timeout: self.request_timeout,
            backoff: RetryBackoff { base_seconds: self.retry_interval, growth: self.growth },
            max_retries: self.max_retries,
            severity: self.severity.clone(),
        }
    }

    /// The settings of the state machine of push agents among them.
    #[must_use]
    pub fn push_settings(&self) -> PushSettings {
        PushSettings {
            quote_interval: self.quote_interval,
            challenge_lifetime: self.push.challenge_lifetime,
            verification_timeout: self.push.verification_timeout,
            failure_recovery: self.push.failure_recovery,
            timeout_recovery: self.push.timeout_recovery,
            token_extension: self.push.token_extension,
            backoff: RetryBackoff { base_seconds: self.retry_interval, growth: self.growth },
            severity: self.severity.clone(),
        }
    }
}

/// What the verifier system works with.
#[derive(Clone)]
pub struct VerifierPorts {
    /// The database.
    pub store: Arc<dyn VerifierStore>,
    /// The way to the agents.
    pub transport: Arc<dyn EvidenceTransport>,
    /// Composes revocation notices.
    pub composer: Arc<dyn RevocationComposer>,
    /// Appraises evidence.
    pub appraiser: Arc<dyn Appraiser>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl VerifierPorts {
    /// The ports of a production verifier.
    #[must_use]
    pub fn new(
        store: Arc<dyn VerifierStore>,
        transport: Arc<dyn EvidenceTransport>,
        composer: Arc<dyn RevocationComposer>,
        appraiser: Arc<dyn Appraiser>,
    ) -> Self {
        Self {
            store,
            transport,
            composer,
            appraiser,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
        }
    }
}
