//! What the gateway asks of sessions, and what it gets.

use keylime_engine::identity::proof_of_possession::Challenge;
use keylime_engine::identity::session_token::{SessionId, SessionToken};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::session::ProofRefusal;
use keylime_schema::wire::v3::timestamp::UtcMicros;

/// A session that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// What the agent has to answer.
    pub challenge: Challenge,
    /// Now.
    pub created: UtcMicros,
    /// Until when the challenge may be answered.
    pub challenge_expires: UtcMicros,
}

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// Too many from this address.
    #[error("too many sessions for this address")]
    Address(RetryAfterSeconds),
    /// Too many for this agent.
    #[error("too many sessions for this agent")]
    Agent(RetryAfterSeconds),
}

/// Seconds after which a client may try again.
pub type RetryAfterSeconds = u64;

/// An answer to a challenge, judged.
#[derive(Debug)]
pub struct Proof {
    /// The session, which is pending no more.
    pub session: Opened,
    /// When the answer came.
    pub received: UtcMicros,
    /// What came of it.
    pub outcome: ProofOutcome,
}

/// What came of an answer to a challenge.
#[derive(Debug)]
pub enum ProofOutcome {
    /// The session is active.
    Pass {
        /// Its token.
        token: SessionToken,
        /// Until when the token is good.
        expires: UtcMicros,
    },
    /// There is no session any more.
    Fail(ProofRefusal),
}

/// Why an answer was not judged. The session, if there is one, is as before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProveRefusal {
    /// There is no such session, or it waits for no proof.
    #[error("session not found")]
    NotFound,
    /// The session is of another agent.
    #[error("agent id mismatch")]
    OtherAgent,
    /// The database could not answer.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
}

/// What a token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It is the token of an active session of this agent.
    Agent(AgentId),
    /// No session has this token.
    Unknown,
    /// The session waits for its proof.
    Inactive,
    /// The session is over.
    Expired,
    /// The database, which has to be asked, does not answer.
    Unavailable {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
}
