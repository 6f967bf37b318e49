//! The seam between an agent's actor and the engine's appraisal: a pure job, run inside a panic boundary.

use crate::verifier::agent_material::AgentMaterial;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::push_material::PushMaterial;
use bytes::Bytes;
use keylime_engine::appraise::{EvidenceVerdict, PresentedTerms, PushVerdict, appraise_request, unjudgeable};
use keylime_engine::evidence::attestation::Attestation;
use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::{ApiVersion, QuoteNonce, Verdict};
use keylime_engine::tpm::clock_info::ClockInfo;
use serde_json::Value;
use std::sync::Arc;

/// Everything one appraisal depends on.
#[derive(Debug, Clone)]
pub struct AppraisalJob {
    /// The agent's enrolment.
    pub material: Arc<AgentMaterial>,
    /// The operator's policies for it.
    pub policies: Arc<AgentPolicies>,
    /// Body of the agent's reply with status 200.
    pub body: Bytes,
    /// What the quote must contain.
    pub nonce: QuoteNonce,
    /// The payload key to use when the evidence carries none.
    pub payload_key: Option<Arc<str>>,
    /// State of the measurement list; its next entry is the one that was asked for.
    pub ima: ImaState,
    /// TPM clock of the last good quote.
    pub clock: ClockInfo,
    /// Number of good quotes before this one.
    pub attestation_count: u64,
    /// API version the evidence was asked for with.
    pub version: ApiVersion,
}

/// Everything the appraisal of a push agent's evidence depends on.
#[derive(Debug, Clone)]
pub struct PushAppraisalJob {
    /// The agent's enrolment.
    pub material: Arc<PushMaterial>,
    /// The operator's policies for it.
    pub policies: Arc<AgentPolicies>,
    /// Its evidence.
    pub attestation: Arc<Attestation>,
    /// State of the measurement list after the last attestation that passed.
    pub ima: ImaState,
    /// TPM clock of the last authentic quote.
    pub clock: ClockInfo,
    /// Number of attestations that passed before this one.
    pub attestation_count: u64,
}

/// Judges evidence. Implementations are total: they never fail, and a panic is caught by the caller.
pub trait Appraiser: Send + Sync + 'static {
    /// The verdict.
    fn appraise(&self, job: &AppraisalJob) -> Verdict;

    /// The verdict on the evidence of a push agent.
    fn appraise_push(&self, _job: &PushAppraisalJob) -> PushVerdict {
        unjudgeable("this appraiser does not judge the evidence of push agents".to_owned())
    }

    /// The verdict on a request of `verify/evidence`.
    fn appraise_presented(&self, request: &Value) -> EvidenceVerdict {
        appraise_request(request, &PresentedTerms::default())
    }
}
