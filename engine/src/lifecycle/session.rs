//! The life of an agent's session: pending until its key is proven, then active until its token expires
//! (`verifier-v3-push.md` §3).
//!
//! Only [`PendingSession::activate`] makes a token, and it takes the proof of this session's own challenge; an expired
//! session stays expired.

use crate::identity::attestation_key::AttestationKey;
use crate::identity::proof_of_possession::{self, Challenge, PossessionError, PossessionEvidence, ProvenPossession};
use crate::identity::session_token::{SECRET_BYTES, SessionId, SessionToken, TokenDigest};
use crate::ids::AgentId;
use crate::time::Timestamp;
use std::time::Duration;

/// A session whose agent has not proven yet who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSession {
    /// Its id.
    pub id: SessionId,
    /// The agent that asked for it.
    pub agent: AgentId,
    /// What it has to answer.
    pub challenge: Challenge,
    /// Until when.
    pub expires: Timestamp,
}

/// Why a pending session does not become active. It ends in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// The answer came too late.
    #[error("challenge has expired")]
    Late,
    /// No agent of this id is enrolled.
    #[error("agent is not enrolled")]
    NotEnrolled,
    /// There is no proof in the answer.
    #[error("answer holds no proof of possession")]
    Missing,
    /// The enrolled key is no attestation key; the text says why.
    #[error("enrolled key cannot be used: {0}")]
    Key(String),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] PossessionError),
}

/// A session that admits its agent.
#[derive(Debug, Clone)]
pub struct ActiveSession {
    /// The agent.
    pub agent: AgentId,
    /// What its token hashes to.
    pub token: TokenDigest,
    /// Until when it admits.
    pub expires: Timestamp,
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejected {
    /// It is not the token of this session.
    #[error("wrong token")]
    Wrong,
    /// The session is over.
    #[error("token has expired")]
    Expired,
}

impl PendingSession {
    /// Opens a session with a fresh id and challenge.
    #[must_use]
    pub fn open(id: SessionId, agent: AgentId, challenge: Challenge, now: Timestamp, lifetime: Duration) -> Self {
        Self { id, agent, challenge, expires: now.after(lifetime) }
    }

    /// Whether the challenge may still be answered.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        now <= self.expires
    }

    /// Judges an answer. `key` is the enrolled attestation key in base64, if the agent is enrolled.
    ///
    /// # Errors
    /// See [`ProofRefusal`].
    pub fn judge(
        &self,
        now: Timestamp,
        key: Option<&str>,
        evidence: &PossessionEvidence<'_>,
    ) -> Result<ProvenPossession, ProofRefusal> {
        if !self.is_open(now) {
            return Err(ProofRefusal::Late);
        }
        let key = key.ok_or(ProofRefusal::NotEnrolled)?;
        if evidence.message.is_empty() || evidence.signature.is_empty() {
            return Err(ProofRefusal::Missing);
        }
        let key = AttestationKey::from_base64(key).map_err(|error| ProofRefusal::Key(error.to_string()))?;
        Ok(proof_of_possession::verify(&self.challenge, evidence, &key)?)
    }

    /// Makes the session active and its token out of fresh, unpredictable bytes. A proof of another session's challenge
    /// gives the session back.
    ///
    /// # Errors
    /// This session, unchanged.
    pub fn activate(
        self,
        proven: &ProvenPossession,
        secret: &[u8; SECRET_BYTES],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<(ActiveSession, SessionToken), Self> {
        if *proven.challenge() != self.challenge {
            return Err(self);
        }
        let token = SessionToken::new(self.id, secret);
        Ok((ActiveSession { agent: self.agent, token: token.digest(), expires: now.after(lifetime) }, token))
    }
}

impl ActiveSession {
    /// The agent that a request with this token comes from.
    ///
    /// # Errors
    /// See [`TokenRejected`].
    pub fn admit(&self, token: &TokenDigest, now: Timestamp) -> Result<&AgentId, TokenRejected> {
        if !self.token.matches(token) {
            return Err(TokenRejected::Wrong);
        }
        if self.is_over(now) { Err(TokenRejected::Expired) } else { Ok(&self.agent) }
    }

    /// Whether the session admits nobody any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires < now
    }

    /// Lets the session go on until then; answers whether that is longer than before. Never revives one that is over.
    pub fn extend(&mut self, now: Timestamp, until: Timestamp) -> bool {
        let longer = !self.is_over(now) && until > self.expires;
        if longer {
            self.expires = until;
        }
        longer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIFETIME: Duration = Duration::from_secs(180);

    fn pending(challenge: u8) -> PendingSession {
        let agent = AgentId::parse("a1").unwrap();
        let challenge = Challenge::new([challenge; 16]);
        PendingSession::open(
            SessionId::from_entropy([1; 16]),
            agent,
            challenge,
            Timestamp(1000),
            Duration::from_secs(60),
        )
    }

    fn active(secret: u8) -> ActiveSession {
        let token = SessionToken::new(SessionId::from_entropy([1; 16]), &[secret; 32]);
        ActiveSession { agent: AgentId::parse("a1").unwrap(), token: token.digest(), expires: Timestamp(5000) }
    }

    #[test]
    fn refusals_come_in_the_references_order() {
        let session = pending(1);
        let nothing = PossessionEvidence { message: &[], signature: &[] };
        let something = PossessionEvidence { message: &[1], signature: &[1] };
        assert_eq!(session.judge(Timestamp(61_001), None, &nothing), Err(ProofRefusal::Late));
        assert_eq!(session.judge(Timestamp(61_000), None, &nothing), Err(ProofRefusal::NotEnrolled));
        assert_eq!(session.judge(Timestamp(61_000), Some("AA"), &nothing), Err(ProofRefusal::Missing));
        assert!(matches!(session.judge(Timestamp(1000), Some("AA"), &something), Err(ProofRefusal::Key(_))));
    }

    #[test]
    fn a_recorded_proof_activates_its_own_session_only() {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/possession.json")).unwrap();
        let bytes = |member: &str| STANDARD.decode(file[member].as_str().unwrap()).unwrap();
        let mut session = pending(1);
        session.challenge = Challenge::new(bytes("challenge").try_into().unwrap());
        let (message, signature) = (bytes("message"), bytes("signature"));
        let evidence = PossessionEvidence { message: &message, signature: &signature };
        let proven = session.judge(Timestamp(2000), file["ak_tpm"].as_str(), &evidence).unwrap();
        let other = pending(2).activate(&proven, &[9; 32], Timestamp(2000), LIFETIME);
        assert_eq!(other.unwrap_err(), pending(2));
        let (active, token) = session.activate(&proven, &[9; 32], Timestamp(2000), LIFETIME).unwrap();
        assert_eq!(active.admit(&token.digest(), Timestamp(182_000)).unwrap().as_str(), "a1");
        assert_eq!(active.admit(&token.digest(), Timestamp(182_001)), Err(TokenRejected::Expired));
    }

    #[test]
    fn a_wrong_token_is_told_nothing_about_the_session() {
        let session = active(1);
        let wrong = TokenDigest::of("x");
        assert_eq!(session.admit(&wrong, Timestamp(0)), Err(TokenRejected::Wrong));
        assert_eq!(session.admit(&wrong, Timestamp(9000)), Err(TokenRejected::Wrong));
    }

    proptest! {
        #[test]
        fn extension_never_shortens_and_never_revives(steps in proptest::collection::vec((0_u64..9000, 0_u64..20_000), 1..20)) {
            let mut session = active(1);
            let token = session.token;
            let mut now = Timestamp(0);
            let mut over = false;
            for (later, until) in steps {
                now = Timestamp(now.0 + later);
                let before = session.expires;
                session.extend(now, Timestamp(until));
                prop_assert!(session.expires >= before);
                let admitted = session.admit(&token, now).is_ok();
                prop_assert!(!(over && admitted));
                over |= !admitted;
            }
        }
    }
}
