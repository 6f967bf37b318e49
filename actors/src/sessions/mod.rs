//! Sessions of push agents: challenges, proofs, tokens and rate limits (`verifier-v3-push.md` §3).
//!
//! The handle's methods decide nothing: which proof holds, what a token is worth and who has asked too often is decided by
//! `keylime_engine::lifecycle::{session, rate_limit}`. A token check is one hash and one look into a table in memory; the
//! database is asked once for each session after a restart, and written in groups.

mod active_sessions;
mod api;
mod handle;
mod limits;
mod pending_sessions;
mod port;
mod slow_hash;
mod writer;

pub use api::{OpenRefusal, Opened, Proof, ProofOutcome, ProveRefusal, RetryAfterSeconds, TokenVerdict};
pub use handle::{AdmittedAddress, SessionHandle, SessionPorts};
pub use limits::SessionLimits;
pub use port::{SessionRow, SessionStore, StoredSession, StoredToken};

use std::time::Duration;

/// The operator's settings of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// `nonce_lifetime`: how long a challenge may be answered.
    pub challenge_lifetime: Duration,
    /// `session_lifetime`: how long a token is good from its making or last extension.
    pub session_lifetime: Duration,
    /// `extend_token_on_attestation`.
    pub extension: Extension,
    /// How many sessions may be opened.
    pub limits: SessionLimits,
}

/// What an attestation that passed does for the token of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The token is good for another lifetime.
    OnAttestation,
    /// Nothing.
    Never,
}

impl Default for SessionOptions {
    /// Keylime's defaults.
    fn default() -> Self {
        Self {
            challenge_lifetime: Duration::from_mins(1),
            session_lifetime: Duration::from_mins(3),
            extension: Extension::OnAttestation,
            limits: SessionLimits::default(),
        }
    }
}
