//! A whole request of `verify/evidence`, from its JSON to the verdict (`evidence-and-tee.md` §1).

use super::evidence::{EvidenceContext, OneShotQuote, appraise_verified, check};
use crate::evidence::presented::{MissingInput, Presented, PresentedTpmPolicy, Problem, RequestError, TpmEvidence};
use crate::identity::attestation_key::AttestationKey;
use crate::ima::ImaOptions;
use crate::measured_boot::{BootEvaluation, BootJudge, BootOccasion, BootPolicies};
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

/// What the verifier's configuration says about evidence.
#[derive(Debug, Clone)]
pub struct PresentedTerms {
    /// The operator's choices about measurement lists.
    pub ima_options: ImaOptions,
    /// The boot policy the operator chose.
    pub boot_policies: BootPolicies,
    /// When it is evaluated.
    pub boot_evaluation: BootEvaluation,
}

impl Default for PresentedTerms {
    fn default() -> Self {
        Self {
            ima_options: ImaOptions::default(),
            boot_policies: BootPolicies::built_in(BootPolicies::ACCEPT_ALL),
            boot_evaluation: BootEvaluation::Once,
        }
    }
}

/// Judges a request of `verify/evidence`.
#[must_use]
pub fn appraise_request(request: &Value, terms: &PresentedTerms) -> EvidenceVerdict {
    let evidence = match Presented::read(request) {
        Ok(Presented::Tpm(evidence)) => evidence,
        Ok(Presented::Missing(missing)) => return EvidenceVerdict::Missing(missing),
        Err(error) => return EvidenceVerdict::Refused(error),
    };
    // Keylime reads the runtime policy before it looks at anything else, and raises when it is no JSON.
    let runtime_policy = match CompiledRuntimePolicy::compile_without_keys(evidence.runtime_policy) {
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
    terms: &PresentedTerms,
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
    let boot_policy = terms.boot_policies.compile(Some(evidence.boot_policy));
    let boot = BootJudge::new(&boot_policy, &terms.boot_evaluation, BootOccasion::OneShot);
    let context = EvidenceContext {
        tpm_policy: &tpm_policy,
        runtime_policy: &runtime_policy,
        ima_options: terms.ima_options,
        ima_list: evidence.ima_list,
        boot_log: evidence.boot_log,
        boot: Some(&boot),
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
