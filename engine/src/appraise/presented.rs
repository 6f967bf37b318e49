//! A whole request of `verify/evidence`, from its JSON to the verdict (`evidence-and-tee.md` §1).

use super::boot_stage::BootAppraiser;
use super::evidence::{EvidenceContext, OneShotQuote, appraise_verified, check};
use crate::evidence::presented::{MissingInput, Presented, PresentedTpmPolicy, Problem, RequestError, TpmEvidence};
use crate::identity::attestation_key::AttestationKey;
use crate::ima::ImaOptions;
use crate::policy::tpm_policy::{InvalidTpmPolicy, TpmPolicy};
use crate::policy::{CompiledRuntimePolicy, PolicyError};
use crate::tpm::failure::QuoteFailure;
use crate::verdict::{Failure, Failures};
use serde_json::Value;

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum EvidenceVerdict {
    /// The evidence satisfies the policies beside it. Says nothing about whose TPM it is from.
    Valid,
    /// It does not.
    Invalid(Failures),
    /// The request lacks something.
    Missing(MissingInput),
    /// There is nothing that could be judged.
    Refused(RequestError),
}

/// Makes boot appraisers of policies that are presented with the evidence.
pub trait PresentedBootPolicies: Sync {
    /// The appraiser for a policy, empty when none was presented; `None` when nothing is to be judged.
    ///
    /// # Errors
    /// Why no verdict about a boot log is possible.
    fn appraiser(&self, policy: &str) -> Result<Option<Box<dyn BootAppraiser + '_>>, Failure>;
}

/// No boot log can be judged: evidence with a boot policy is never valid.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBootPolicies;

impl PresentedBootPolicies for NoBootPolicies {
    fn appraiser(&self, policy: &str) -> Result<Option<Box<dyn BootAppraiser + '_>>, Failure> {
        if policy.is_empty() {
            return Ok(None);
        }
        let reason = "measured boot is not appraised by this verifier".to_owned();
        Err(Failure::Quote(QuoteFailure::InvalidQuote(reason)))
    }
}

/// What the verifier's configuration says about evidence that is presented once.
#[derive(Clone, Copy)]
pub struct PresentedTerms<'a> {
    /// The operator's choices about measurement lists.
    pub ima_options: ImaOptions,
    /// Boot policies.
    pub boot: &'a dyn PresentedBootPolicies,
}

/// Judges a request of `verify/evidence`.
#[must_use]
pub fn appraise_request(request: &Value, terms: &PresentedTerms<'_>) -> EvidenceVerdict {
    let evidence = match Presented::read(request) {
        Ok(Presented::Tpm(evidence)) => evidence,
        Ok(Presented::Missing(missing)) => return EvidenceVerdict::Missing(missing),
        Err(error) => return EvidenceVerdict::Refused(error),
    };
    // Keylime reads the runtime policy before it looks at anything else, and raises when it is no JSON.
    let runtime_policy = match CompiledRuntimePolicy::compile(evidence.runtime_policy) {
        Err(PolicyError::NotJson) => {
            let (member, problem) = ("runtime_policy", Problem::NotJson);
            return EvidenceVerdict::Refused(RequestError::Uninterpretable { member, problem });
        }
        other => other,
    };
    match appraise_tpm(&evidence, runtime_policy, terms) {
        Ok(None) => EvidenceVerdict::Valid,
        Ok(Some(failures)) => EvidenceVerdict::Invalid(failures),
        Err(failure) => EvidenceVerdict::Invalid(Failures::one(failure)),
    }
}

fn appraise_tpm(
    evidence: &TpmEvidence<'_>,
    runtime_policy: Result<CompiledRuntimePolicy, PolicyError>,
    terms: &PresentedTerms<'_>,
) -> Result<Option<Failures>, Failure> {
    let uninterpretable = |reason: String| Failure::Quote(QuoteFailure::InvalidQuote(reason));
    OneShotQuote::known_hash(evidence.hash_alg).map_err(Failure::Quote)?;
    let key = AttestationKey::from_base64(evidence.tpm_ak).map_err(|error| uninterpretable(error.to_string()))?;
    let quote = OneShotQuote {
        quote: evidence.quote,
        nonce: evidence.nonce,
        hash_alg: evidence.hash_alg,
        attestation_key: &key,
    };
    let verified = check(&quote).map_err(Failure::Quote)?;
    let tpm_policy = read_tpm_policy(evidence.tpm_policy).map_err(|error| uninterpretable(error.to_string()))?;
    let runtime_policy = runtime_policy.map_err(|error| uninterpretable(error.to_string()))?;
    let boot = terms.boot.appraiser(evidence.boot_policy)?;
    let context = EvidenceContext {
        tpm_policy: &tpm_policy,
        runtime_policy: &runtime_policy,
        ima_options: terms.ima_options,
        ima_list: evidence.ima_list,
        boot_log: evidence.boot_log,
        boot: boot.as_deref(),
    };
    Ok(appraise_verified(&verified, &context))
}

fn read_tpm_policy(policy: PresentedTpmPolicy<'_>) -> Result<TpmPolicy, InvalidTpmPolicy> {
    let mut object = match policy {
        PresentedTpmPolicy::Text("") => return Ok(TpmPolicy::default()),
        PresentedTpmPolicy::Text(text) => TpmPolicy::parse_object(text)?,
        PresentedTpmPolicy::Object(object) => object.clone(),
    };
    // Nobody was asked for PCRs, so what should have been asked is not even read.
    object.shift_remove("mask");
    TpmPolicy::from_object(&object)
}
