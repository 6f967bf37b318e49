//! The table of sessions as the sessions need it.

use crate::ports::StoreError;
use async_trait::async_trait;
use keylime_engine::identity::proof_of_possession::Challenge;
use keylime_engine::identity::session_token::{SessionId, TokenDigest};
use keylime_engine::ids::AgentId;
use keylime_schema::wire::v3::timestamp::UtcMicros;

/// A session that becomes active.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// What its token hashes to.
    pub token: TokenDigest,
    /// The challenge that was answered.
    pub challenge: Challenge,
    /// When the challenge was made.
    pub created: UtcMicros,
    /// Until when it could be answered.
    pub challenge_expires: UtcMicros,
    /// When it was answered.
    pub proven: UtcMicros,
    /// Until when the token is good.
    pub expires: UtcMicros,
}

/// What a row holds of its token.
#[derive(Debug, Clone)]
pub enum StoredToken {
    /// SHA-256; the salt of such a row is empty.
    Digest(TokenDigest),
    /// PBKDF2-HMAC-SHA256, as Keylime writes it.
    Slow {
        /// The salt.
        salt: [u8; 16],
        /// The hash.
        hash: [u8; 32],
    },
}

/// A session as it is stored.
#[derive(Debug, Clone)]
pub struct StoredSession {
    /// Its agent.
    pub agent: AgentId,
    /// Its token.
    pub token: StoredToken,
    /// Whether its agent has proven who it is.
    pub active: bool,
    /// Until when its token is good; `None` is never.
    pub expires: Option<UtcMicros>,
}

/// The sessions in the verifier's database.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Stores sessions, in one transaction, in the place of all others of their agents. No agent is twice in a batch.
    async fn begin(&self, batch: Vec<SessionRow>) -> Result<(), StoreError>;
    /// Moves the end of sessions, in one transaction; those that are gone stay gone.
    async fn extend(&self, batch: Vec<(SessionId, UtcMicros)>) -> Result<(), StoreError>;
    /// Replaces the hash of a token that was checked by the digest of the same token.
    async fn rehash(&self, id: SessionId, token: TokenDigest) -> Result<(), StoreError>;
    /// One session. A row that cannot be decoded is none.
    async fn session(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError>;
    /// Deletes the sessions that ended before this moment; answers how many.
    async fn purge(&self, ended_before: UtcMicros) -> Result<u64, StoreError>;
}
