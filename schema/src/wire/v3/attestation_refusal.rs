//! Refusals of push agents' requests as error objects: the one table of statuses, codes and sentences
//! (`verifier-v3-push.md` §4 and §5).

use super::error_object::ErrorObject;
use super::timestamp::UtcMicros;
use keylime_engine::evidence::attestation::WallMicros;
use keylime_engine::lifecycle::Refusal;

/// The agent is not enrolled.
#[must_use]
pub fn not_enrolled(agent_id: &str) -> ErrorObject {
    ErrorObject::not_found(format!("No enrolled agent with ID '{agent_id}'."))
}

/// The attestation does not exist; `index` is `None` when the latest was asked for.
#[must_use]
pub fn no_attestation(agent_id: &str, index: Option<&str>) -> ErrorObject {
    ErrorObject::not_found(match index {
        Some(index) => format!("No attestation {index} exists for agent '{agent_id}'."),
        None => format!("No attestation exists for agent '{agent_id}'."),
    })
}

/// The errors of a refusal. `index` is the one of the request's path, `None` when it named none or the latest.
#[must_use]
pub fn errors(refusal: &Refusal, agent_id: &str, index: Option<&str>) -> Vec<ErrorObject> {
    let cannot_create = |rest: String| format!("Cannot create attestation for agent '{agent_id}' {rest}");
    vec![match refusal {
        Refusal::Invalid(messages) => {
            return messages
                .iter()
                .map(|message| ErrorObject::invalid_resource_data(message.to_string(), message.pointer()))
                .collect();
        }
        Refusal::AttestationsDisabled => ErrorObject::new(
            403,
            "agent_attestations_disabled",
            format!(
                "Attestations for agent '{agent_id}' are currently disabled. This may be due to a previous attestation \
                 not passing verification."
            ),
        ),
        Refusal::FailedRetry { retry_after } => ErrorObject::new(
            503,
            "attestation_failed_retry",
            format!(
                "Last attestation for agent '{agent_id}' failed verification. Retry with exponential backoff (wait at \
                 least {retry_after} seconds). If the failure was due to policy violation, update the policy or fix \
                 the agent before retrying."
            ),
        ),
        Refusal::VerificationInProgress { retry_after } => ErrorObject::new(
            503,
            "verification_in_progress",
            cannot_create(format!(
                "while the last attestation is still being verified. The active verification task is expected to \
                 complete or time out within {retry_after} seconds."
            )),
        ),
        Refusal::Premature { retry_after } => ErrorObject::new(
            429,
            "premature_attestation",
            cannot_create(format!(
                "before the configured interval has elapsed. Wait {retry_after} seconds before trying again."
            )),
        ),
        Refusal::Conflict => {
            ErrorObject::conflict(cannot_create("while another creation attempt is in progress.".to_owned()))
        }
        Refusal::NoAttestation => no_attestation(agent_id, index),
        Refusal::NotLatest => ErrorObject::new(
            403,
            "old_attestation",
            format!(
                "Attestation {} is not the latest for agent '{agent_id}'. Only evidence for the most recent \
                 attestation may be updated.",
                index.unwrap_or("latest"),
            ),
        ),
        Refusal::EvidenceImmutable(index) => ErrorObject::new(
            403,
            "evidence_immutable",
            format!("Cannot alter evidence for attestation {index} which has already been received and accepted."),
        ),
        Refusal::ChallengesExpired(index, expired) => {
            let expired = match expired {
                // The reference prints it with a blank in place of the T.
                Some(WallMicros(micros)) => UtcMicros::from_micros(*micros).to_string().replacen('T', " ", 1),
                None => "None".to_owned(),
            };
            ErrorObject::new(
                403,
                "challenges_expired",
                format!(
                    "Challenges for attestation {index} expired at {expired}. Create a new attestation and try again."
                ),
            )
        }
        Refusal::NoEvidence => {
            ErrorObject::new(400, "invalid_request", "Request body must include attestation evidence data.")
        }
        Refusal::Busy { retry_after } => ErrorObject::new(
            503,
            "service_unavailable",
            format!("The verifier is busy. Wait {retry_after} seconds before trying again."),
        ),
    }]
}

/// Value of the header `Retry-After`, if the refusal has one.
#[must_use]
pub const fn retry_after(refusal: &Refusal) -> Option<u32> {
    match refusal {
        Refusal::FailedRetry { retry_after }
        | Refusal::VerificationInProgress { retry_after }
        | Refusal::Premature { retry_after }
        | Refusal::Busy { retry_after } => Some(*retry_after),
        Refusal::AttestationsDisabled
        | Refusal::Invalid(_)
        | Refusal::Conflict
        | Refusal::NoAttestation
        | Refusal::NotLatest
        | Refusal::EvidenceImmutable(_)
        | Refusal::ChallengesExpired(..)
        | Refusal::NoEvidence => None,
    }
}
