//! What the gateway asks of the verifier system, and what it gets.

use crate::ports::{NewBootPolicy, NewRuntimePolicy, PolicyChoice, StoreError};
use keylime_engine::ids::AgentId;
pub use keylime_engine::lifecycle::AttestationStatus;
pub use keylime_engine::verdict::Explanation;

/// A complete, checked request to enrol an agent for pull attestation.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v2.md §3.1")]
pub struct EnrolAgent {
    pub agent_id: AgentId,
    pub v: Option<String>,
    /// `None` for a push agent.
    pub ip: Option<String>,
    /// `None` for a push agent.
    pub port: Option<u16>,
    pub verifier_ip: String,
    pub verifier_port: i32,
    pub tpm_policy: String,
    pub meta_data: String,
    pub runtime_policy: PolicyChoice<NewRuntimePolicy>,
    pub boot_policy: PolicyChoice<NewBootPolicy>,
    pub ima_sign_verification_keys: String,
    pub revocation_key: String,
    pub accept_tpm_hash_algs: Vec<String>,
    pub accept_tpm_encryption_algs: Vec<String>,
    pub accept_tpm_signing_algs: Vec<String>,
    pub ak_tpm: String,
    pub mtls_cert: Option<String>,
    pub supported_version: String,
}

/// Why an enrolment was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnrolError {
    /// The agent is enrolled already.
    #[error("agent exists")]
    AgentExists,
    /// A runtime policy of this name exists and another was supplied.
    #[error("runtime policy {0} exists")]
    RuntimePolicyExists(String),
    /// No runtime policy of this name exists.
    #[error("runtime policy {0} does not exist")]
    RuntimePolicyMissing(String),
    /// A boot policy of this name exists and another was supplied.
    #[error("boot policy {0} exists")]
    BootPolicyExists(String),
    /// No boot policy of this name exists.
    #[error("boot policy {0} does not exist")]
    BootPolicyMissing(String),
    /// The request cannot be attested with: AK, tpm_policy or certificate are malformed; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The verifier is overloaded or stopping; try again after some seconds.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state of one agent as `GET /v2.x/agents/{id}` shows it (`verifier-v2.md` §3.2). The key share `v` is in it because
/// Keylime's wire has it; the gateway decides who sees it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v2.md §3.2")]
pub struct AgentStatus {
    pub agent_id: String,
    pub operational_state: Option<u8>,
    pub v: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    pub tpm_policy: String,
    pub meta_data: String,
    pub has_mb_refstate: bool,
    pub has_runtime_policy: bool,
    pub accept_tpm_hash_algs: Vec<String>,
    pub accept_tpm_encryption_algs: Vec<String>,
    pub accept_tpm_signing_algs: Vec<String>,
    pub hash_alg: String,
    pub enc_alg: String,
    pub sign_alg: String,
    pub verifier_id: String,
    pub verifier_ip: String,
    pub verifier_port: i32,
    pub severity_level: Option<u8>,
    pub last_event_id: Option<String>,
    pub attestation_count: i64,
    pub last_received_quote: i64,
    pub last_successful_attestation: i64,
    pub attestation_status: AttestationStatus,
    /// Why the last attestation failed, for people; our own addition, not shown on v2.
    pub failure_details: Vec<String>,
    /// The failures of the last attestation in full; our own addition.
    pub explanations: Vec<Explanation>,
    /// The agent's actor was quarantined after repeated internal faults.
    pub quarantined: bool,
}

/// Why a command for an enrolled agent was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// No such agent.
    #[error("agent not found")]
    NotFound,
    /// The agent belongs to another verifier.
    #[error("agent belongs to another verifier")]
    OtherVerifier,
    /// The verifier is overloaded or stopping.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a change of an enrolled agent was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AmendError {
    /// It could not be carried out, whatever it is.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A runtime policy of this name exists and another was supplied.
    #[error("runtime policy {0} exists")]
    RuntimePolicyExists(String),
    /// No runtime policy of this name exists.
    #[error("runtime policy {0} does not exist")]
    RuntimePolicyMissing(String),
    /// A boot policy of this name exists and another was supplied.
    #[error("boot policy {0} exists")]
    BootPolicyExists(String),
    /// No boot policy of this name exists.
    #[error("boot policy {0} does not exist")]
    BootPolicyMissing(String),
    /// The agent could not be attested any more; the text says why.
    #[error("{0}")]
    Invalid(String),
}

impl From<StoreError> for AmendError {
    fn from(error: StoreError) -> Self {
        Self::Command(error.into())
    }
}

/// How a deletion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The agent is gone.
    Done,
    /// The agent is being deleted; a request to it was in flight.
    Accepted,
}
