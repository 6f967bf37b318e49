//! Results of `GET /v2.x/agents` in its forms (`verifier-v2.md` §3.2, §3.3).

use serde::{Deserialize, Serialize};

/// The state of one agent; the order of the members is the wire's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v2.md §3.2")]
pub struct AgentStatusReply {
    pub operational_state: Option<u8>,
    pub v: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    pub tpm_policy: String,
    pub meta_data: String,
    pub has_mb_refstate: u8,
    pub has_runtime_policy: u8,
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
    /// Seconds since the epoch, 0 when there was none.
    pub last_received_quote: i64,
    /// Seconds since the epoch, 0 when there was none.
    pub last_successful_attestation: i64,
    pub attestation_status: String,
    /// Quote interval as whole seconds with the unit `s`.
    pub attestation_period: String,
    /// Longest time between quotes before an agent counts as late, whole seconds with the unit `s`.
    pub maximum_attestation_interval: String,
}

/// Ids of enrolled agents, each in a list of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentIdList {
    /// One-element lists.
    pub uuids: Vec<[String; 1]>,
}
