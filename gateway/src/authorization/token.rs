//! Bearer tokens of agents (`authorization.md` §3).

use async_trait::async_trait;
use keylime_engine::ids::AgentId;

/// Longest token that is looked at, in bytes; a session id, a dot and a secret take fewer than 100.
pub(crate) const MAX_TOKEN_BYTES: usize = 512;

/// What a token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenCheck {
    /// The token of an active session of this agent.
    Agent(AgentId),
    /// Worth nothing.
    Refused(TokenRefusal),
    /// Nobody knows, as the database does not answer.
    Unavailable {
        /// Seconds after which the client may try again.
        retry_after_seconds: u32,
    },
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The header does not start with `Bearer `.
    HeaderFormat,
    /// No session has this token.
    Unknown,
    /// The session waits for its proof of possession.
    Inactive,
    /// The session is over.
    Expired,
}

impl TokenRefusal {
    /// The detail shown to the client.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::HeaderFormat => "Invalid Authorization header format",
            Self::Unknown => "Invalid authentication token",
            Self::Inactive => "Authentication session not active",
            Self::Expired => "Authentication token expired",
        }
    }
}

/// Knows the tokens of sessions.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Looks a token up; the text after `Bearer `.
    async fn check(&self, token: &str) -> TokenCheck;
}

/// A server without sessions: no token is worth anything.
#[derive(Debug, Clone, Copy)]
pub struct NoSessions;

#[async_trait]
impl Tokens for NoSessions {
    async fn check(&self, _: &str) -> TokenCheck {
        TokenCheck::Refused(TokenRefusal::Unknown)
    }
}
