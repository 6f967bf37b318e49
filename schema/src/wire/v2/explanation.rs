//! Results of `GET /v2.x/agents/{id}/explain`: an addition of this project to Keylime's interface.

use keylime_engine::verdict::Explanation;
use serde::{Deserialize, Serialize};

/// Why an agent is in its state, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationReply {
    /// The agent.
    pub agent_id: String,
    /// Its operational state; null for push agents.
    pub operational_state: Option<u8>,
    /// `PASS`, `FAIL` or `PENDING`.
    pub attestation_status: String,
    /// Keylime's id of the failure that decided.
    pub last_event_id: Option<String>,
    /// Severity of that failure.
    pub severity_level: Option<u8>,
    /// Failures of the last attestation, at most 64.
    pub failures: Vec<ExplainedFailure>,
    /// The same in short, and trouble on the way to the agent.
    pub details: Vec<String>,
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedFailure {
    /// Keylime's event id.
    pub event_id: String,
    /// Line of the measurement list, counted from one.
    pub line: Option<u64>,
    /// File, key ring or register.
    pub subject: Option<String>,
    /// Name of the policy and JSON pointer into it.
    pub policy_entry: Option<String>,
    /// What was measured.
    pub found: Option<String>,
    /// What the policy asks for.
    pub expected: Vec<String>,
    /// One sentence.
    pub text: String,
    /// What would make it pass.
    pub remedy: Option<String>,
}

impl From<Explanation> for ExplainedFailure {
    fn from(explanation: Explanation) -> Self {
        let Explanation { event_id, line, subject, policy_entry, found, expected, text, remedy } = explanation;
        Self { event_id, line, subject, policy_entry, found, expected, text, remedy }
    }
}

impl From<ExplainedFailure> for Explanation {
    fn from(failure: ExplainedFailure) -> Self {
        let ExplainedFailure { event_id, line, subject, policy_entry, found, expected, text, remedy } = failure;
        Self { event_id, line, subject, policy_entry, found, expected, text, remedy }
    }
}
