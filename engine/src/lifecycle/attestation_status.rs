//! What `attestation_status` says of an agent (`verifier-state-machine.md` §7).

use super::operational_state::OperationalState;
use super::pull_transition::PullSettings;
use std::time::Duration;

/// PASS, FAIL, PENDING or TIMEOUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttestationStatus {
    /// Attested, and the last attestation is not older than its deadline.
    Pass,
    /// The evidence failed, or attestation was stopped.
    Fail,
    /// Not attested yet, or not any more for a reason on the verifier's side.
    Pending,
    /// A push agent was silent too long.
    Timeout,
}

impl AttestationStatus {
    /// Keylime's text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Pending => "PENDING",
            Self::Timeout => "TIMEOUT",
        }
    }
}

/// The status of a pull agent whose last good quote is `age` old.
///
/// PASS is derived from that age, never only remembered: an agent that for whatever reason is no longer asked stops being
/// shown as attested (CVE-2022-3500).
#[must_use]
pub fn pull_status(state: OperationalState, age: Duration, settings: &PullSettings) -> AttestationStatus {
    match state {
        OperationalState::GetQuote
        | OperationalState::GetQuoteRetry
        | OperationalState::ProvideV
        | OperationalState::ProvideVRetry => {
            if age <= longest_regular_gap(settings) {
                AttestationStatus::Pass
            } else {
                AttestationStatus::Pending
            }
        }
        OperationalState::Failed | OperationalState::InvalidQuote | OperationalState::TenantFailed => {
            AttestationStatus::Fail
        }
        OperationalState::Registered
        | OperationalState::Start
        | OperationalState::Saved
        | OperationalState::Terminated => AttestationStatus::Pending,
    }
}

/// The status of a push agent.
#[must_use]
pub fn push_status(
    accept_attestations: Option<bool>,
    consecutive_failures: u32,
    attestation_count: u64,
) -> AttestationStatus {
    match accept_attestations {
        Some(_) if consecutive_failures > 0 => AttestationStatus::Fail,
        Some(false) => AttestationStatus::Timeout,
        Some(true) if attestation_count > 0 => AttestationStatus::Pass,
        Some(true) | None => AttestationStatus::Pending,
    }
}

/// The longest time between two good quotes of an agent that has not been given up: all retries used, each request
/// as slow as allowed, with five intervals to spare as in `maximum_attestation_interval`.
fn longest_regular_gap(settings: &PullSettings) -> Duration {
    let requests = settings.request_timeout.saturating_mul(settings.max_retries.saturating_add(1));
    let pauses = settings.backoff.total(settings.max_retries);
    settings.quote_interval.saturating_mul(5).saturating_add(requests).saturating_add(pauses + pauses / 10)
}
