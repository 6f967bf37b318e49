//! What a push agent was enrolled with, decoded once and kept small: it stays in memory for every agent.

use crate::ports::AgentRecord;
use crate::verifier::agent_material::EvidenceTerms;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::recovery::is_pull;
use crate::verifier::shared_terms::SharedTerms;
use keylime_engine::evidence::requirements::{Demand, Requirements};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::AgentKind;
use keylime_engine::tpm::pcr_mask::PcrMask;

/// The fixed part of one push agent.
#[derive(Debug)]
pub struct PushMaterial {
    /// Its id.
    pub agent_id: AgentId,
    /// How it was enrolled.
    pub kind: AgentKind,
    /// Row of its runtime policy.
    pub runtime_policy_id: Option<i32>,
    /// Row of its boot policy.
    pub boot_policy_id: Option<i32>,
    /// Version of the API it was enrolled with.
    pub supported_version: Box<str>,
    /// What its evidence is judged by, or why its enrolment is unusable.
    pub terms: Result<EvidenceTerms, Box<str>>,
}

impl PushMaterial {
    /// Decodes an enrolment; what many agents have in common is shared through `shared`.
    #[must_use]
    pub fn from_record(record: &AgentRecord, shared: &SharedTerms) -> Self {
        let terms = shared
            .unmasked_tpm_policy(&record.tpm_policy)
            .and_then(|policy| EvidenceTerms::from_record(record, policy, shared));
        Self {
            agent_id: record.agent_id.clone(),
            kind: if is_pull(record) { AgentKind::Addressed } else { AgentKind::Push },
            runtime_policy_id: record.runtime_policy_id,
            boot_policy_id: record.boot_policy_id,
            supported_version: record.supported_version.as_str().into(),
            terms: terms.map_err(String::into_boxed_str),
        }
    }

    /// What the agent has to prove.
    #[must_use]
    pub fn requirements(&self, policies: &AgentPolicies) -> Requirements {
        match &self.terms {
            Ok(terms) => {
                let ima = Demand::when(policies.has_runtime_policy);
                Requirements::of(&terms.tpm_policy.policy, policies.boot_log, ima)
            }
            Err(_) => Requirements { pcrs: PcrMask::EMPTY, uefi: Demand::NotWanted, ima: Demand::NotWanted },
        }
    }
}
