//! The production appraiser: hands a job to the engine.

use crate::verifier::agent_material::EvidenceTerms;
use crate::verifier::appraiser::{AppraisalJob, Appraiser, PushAppraisalJob};
use keylime_engine::appraise::{
    AcceptedAlgorithms, EvidenceVerdict, PresentedTerms, PullContext, PushContext, PushVerdict, appraise_pull_reply,
    appraise_push, appraise_request, unjudgeable,
};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::lifecycle::Verdict;
use keylime_engine::measured_boot::{BootJudge, BootOccasion};
use keylime_engine::tpm::quote::QuoteEncoding;
use serde_json::Value;
use std::borrow::Cow;

/// Appraises with the engine, on the operator's terms.
#[derive(Debug, Clone, Default)]
pub struct EngineAppraiser {
    /// What the configuration says about evidence of every kind.
    pub terms: PresentedTerms,
}

impl EngineAppraiser {
    fn judge_push(&self, job: &PushAppraisalJob) -> Result<PushVerdict, String> {
        let terms = job.material.terms.as_ref().map_err(|reason| format!("the enrolment is unusable: {reason}"))?;
        let attestation_key = prepared(terms)?;
        let occasion = BootOccasion::after(job.attestation_count);
        let boot = BootJudge::new(&job.policies.boot, &self.terms.boot_evaluation, occasion);
        let context = PushContext {
            attestation_key: &attestation_key,
            requirements: job.material.requirements(&job.policies),
            tpm_policy: &terms.tpm_policy.policy,
            runtime_policy: job.policies.runtime.usable()?,
            agent_keyring: terms.keyring.as_deref(),
            ima_options: self.terms.ima_options,
            ima: &job.ima,
            clock: job.clock,
            boot: Some(&boot),
        };
        Ok(appraise_push(&job.attestation, &context))
    }

    fn judge(&self, job: &AppraisalJob) -> Result<Verdict, String> {
        let terms = job.material.terms.as_ref().ok_or("the enrolment cannot be attested with")?;
        let attestation_key = prepared(terms)?;
        let occasion = BootOccasion::after(job.attestation_count);
        let boot = BootJudge::new(&job.policies.boot, &self.terms.boot_evaluation, occasion);
        let context = PullContext {
            attestation_key: &attestation_key,
            nonce: job.nonce.as_str(),
            encoding: QuoteEncoding::of_api_version(job.version.text()),
            known_payload_key: job.payload_key.as_deref(),
            accepted: AcceptedAlgorithms {
                hash: &terms.accepted.hash,
                enc: &terms.accepted.enc,
                sign: &terms.accepted.sign,
            },
            tpm_policy: &terms.tpm_policy.policy,
            runtime_policy: job.policies.runtime.usable()?,
            agent_keyring: terms.keyring.as_deref(),
            ima_options: self.terms.ima_options,
            ima: &job.ima,
            clock: job.clock,
            boot: Some(&boot),
        };
        Ok(appraise_pull_reply(&job.body, &context))
    }
}

fn prepared(terms: &EvidenceTerms) -> Result<Cow<'_, AttestationKey>, String> {
    terms.attestation_key.prepared().map_err(|error| format!("the attestation key is unusable: {error}"))
}

impl Appraiser for EngineAppraiser {
    fn appraise_push(&self, job: &PushAppraisalJob) -> PushVerdict {
        self.judge_push(job).unwrap_or_else(unjudgeable)
    }

    fn appraise(&self, job: &AppraisalJob) -> Verdict {
        self.judge(job).unwrap_or_else(Verdict::Unreadable)
    }

    fn appraise_presented(&self, request: &Value) -> EvidenceVerdict {
        appraise_request(request, &self.terms)
    }
}
