//! An answer of the verifier with another status than the expected one.

use crate::push::connection::Reply;
use crate::push::state_machine::Setback;

/// What was refused, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("verifier answered {status} to {action}: {body}")]
pub struct RefusedReply {
    /// What was asked.
    pub action: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The start of the answer.
    pub body: String,
    /// What it means.
    pub setback: Setback,
}

impl RefusedReply {
    /// Takes an answer for what its status says.
    #[must_use]
    pub fn new(action: &'static str, reply: &Reply) -> Self {
        let setback = Setback::of_status(reply.status, reply.retry_after);
        Self { action, status: reply.status, body: reply.excerpt(), setback }
    }
}
