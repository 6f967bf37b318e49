//! Sessions as their users see them: plain async methods, typed errors.

use super::active_sessions::ActiveSessions;
use super::api::{OpenRefusal, Opened, Proof, ProofOutcome, ProveRefusal, TokenVerdict};
use super::limits::{Counters, Place};
use super::pending_sessions::{PendingSessions, Waiting};
use super::port::{SessionRow, SessionStore, StoredSession, StoredToken};
use super::slow_hash::SlowHashes;
use super::writer::{Write, Writer};
use super::{Extension, SessionOptions};
use crate::ports::{Clock, Entropy, StoreError, TokenExtension, VerifierStore};
use keylime_engine::identity::proof_of_possession::{Challenge, PossessionEvidence};
use keylime_engine::identity::session_token::{SECRET_BYTES, SessionId, SessionToken, TokenDigest};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::rate_limit::RetryAfter;
use keylime_engine::lifecycle::session::{ActiveSession, PendingSession, TokenRejected};
use keylime_engine::time::Timestamp;
use keylime_schema::wire::v3::timestamp::UtcMicros;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Reads of the database that are going on for sessions at one time; the others wait their turn.
const MAX_READS: usize = 8;
/// Seconds after which a client may try again when the database was away.
const RETRY_AFTER_SECONDS: u32 = 5;
/// An extension is stored when it is longer by this part of the lifetime than what is stored.
const STORED_STEPS: u32 = 8;

/// A handle to the sessions of a verifier; cheap to clone.
#[derive(Clone)]
pub struct SessionHandle {
    inner: Arc<Inner>,
}

/// What sessions work with.
#[derive(Clone)]
pub struct SessionPorts {
    /// The enrolled agents.
    pub agents: Arc<dyn VerifierStore>,
    /// The table of sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// The clock; the same as that of the verifier system.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

struct Inner {
    options: SessionOptions,
    ports: SessionPorts,
    counters: Counters,
    pending: PendingSessions,
    active: Arc<ActiveSessions>,
    slow: SlowHashes,
    reads: Semaphore,
    writes: mpsc::Sender<Write>,
}

/// The place of one request among the rate limits; it stays taken when it is dropped.
#[derive(Debug)]
#[must_use = "without it no session is opened"]
pub struct AdmittedAddress {
    place: Place,
    taken: Timestamp,
}

impl SessionHandle {
    /// The sessions, and the task that writes them; without it, none becomes active.
    pub fn new(options: SessionOptions, ports: SessionPorts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let active = Arc::new(ActiveSessions::default());
        let (writes, writer) = Writer::new(Arc::clone(&ports.sessions), Arc::clone(&active), Arc::clone(&ports.clock));
        let counters = Counters::new(options.limits);
        let inner = Inner {
            options,
            ports,
            counters,
            pending: PendingSessions::default(),
            active,
            slow: SlowHashes::new(),
            reads: Semaphore::new(MAX_READS),
            writes,
        };
        (Self { inner: Arc::new(inner) }, writer.run())
    }

    /// Counts a request of this address; `agent` is the agent it names, if it names one. An enrolled agent goes beyond the
    /// limit of its address as long as the verifier's budget lasts.
    ///
    /// # Errors
    /// [`OpenRefusal::Address`].
    pub async fn admit_address(
        &self,
        address: IpAddr,
        agent: Option<&AgentId>,
    ) -> Result<AdmittedAddress, OpenRefusal> {
        let taken = self.now();
        let counters = &self.inner.counters;
        let refused = match counters.of_address(address, taken) {
            Ok(place) => return Ok(AdmittedAddress { place, taken }),
            Err(RetryAfter(seconds)) => OpenRefusal::Address(seconds),
        };
        match agent {
            Some(agent) if counters.has_budget() && self.is_enrolled(agent).await => {
                counters.of_budget(taken).map(|place| AdmittedAddress { place, taken }).ok_or(refused)
            }
            Some(_) | None => Err(refused),
        }
    }

    /// Counts a request for this agent.
    ///
    /// # Errors
    /// [`OpenRefusal::Agent`].
    pub fn admit_agent(&self, agent: &AgentId) -> Result<(), OpenRefusal> {
        self.inner.counters.of_agent(agent, self.now()).map_err(|RetryAfter(seconds)| OpenRefusal::Agent(seconds))
    }

    /// Opens a session with a fresh challenge. Whether the agent is enrolled is asked when it answers.
    #[must_use]
    pub fn open(&self, agent: AgentId, admitted: AdmittedAddress) -> Opened {
        let (now, created) = (self.now(), self.wall());
        let lifetime = self.inner.options.challenge_lifetime;
        let id = SessionId::from_entropy(self.random());
        let session = PendingSession::open(id, agent, Challenge::new(self.random()), now, lifetime);
        let expires = created.plus_seconds(whole_seconds(lifetime));
        let waiting = Waiting { session, place: (admitted.place, admitted.taken), created, expires };
        let opened = opened(&waiting);
        self.inner.pending.insert(waiting, now);
        opened
    }

    /// Judges the answer to a session's challenge.
    ///
    /// # Errors
    /// See [`ProveRefusal`].
    pub async fn prove(&self, id: &str, agent: &str, message: &[u8], signature: &[u8]) -> Result<Proof, ProveRefusal> {
        let id = SessionId::parse(id).ok_or(ProveRefusal::NotFound)?;
        let named = self.inner.pending.get(&id).ok_or(ProveRefusal::NotFound)?;
        if named.session.agent.as_str() != agent {
            return Err(ProveRefusal::OtherAgent);
        }
        let waiting = self.inner.pending.claim(&id).ok_or(ProveRefusal::NotFound)?;
        let received = self.wall();
        let key = match self.enrolled_key(&waiting.session.agent).await {
            Ok(key) => key,
            Err(error) => return Err(self.postpone(&waiting, &error)),
        };
        let evidence = PossessionEvidence { message, signature };
        let session = opened(&waiting);
        let outcome = match waiting.session.judge(self.now(), key.as_deref(), &evidence) {
            Ok(proven) => {
                let secret: [u8; SECRET_BYTES] = self.random();
                let lifetime = self.inner.options.session_lifetime;
                let activated = waiting.session.clone().activate(&proven, &secret, self.now(), lifetime);
                let Ok((active, token)) = activated else { return Err(ProveRefusal::NotFound) };
                let expires = self.wall().plus_seconds(whole_seconds(lifetime));
                if let Err(error) = self.store(&waiting, active, received, expires).await {
                    return Err(self.postpone(&waiting, &error));
                }
                self.inner.counters.give_back(waiting.place.0, waiting.place.1);
                ProofOutcome::Pass { token, expires }
            }
            Err(refusal) => {
                tracing::info!(
                    target: "keylime.verifier",
                    agent = %waiting.session.agent,
                    reason = %refusal,
                    "proof of possession refused"
                );
                ProofOutcome::Fail(refusal)
            }
        };
        self.inner.pending.end(&id);
        Ok(Proof { session, received, outcome })
    }

    /// What a token is worth.
    pub async fn check(&self, token: &str) -> TokenVerdict {
        let Some(id) = SessionToken::session_of(token) else { return TokenVerdict::Unknown };
        let digest = TokenDigest::of(token);
        match self.inner.active.admit(&id, &digest, self.now()) {
            Some(verdict) => verdict_of(verdict),
            None => self.check_stored(id, token, digest).await,
        }
    }

    /// Lets the session of an agent go on until then, if it has one that is not over. A shorter time changes nothing.
    pub fn extend_until(&self, agent: &AgentId, until: Timestamp) {
        let now = self.now();
        let unstored = self.inner.options.session_lifetime / STORED_STEPS;
        if let Some(extended) = self.inner.active.extend(agent, now, until, unstored) {
            let until = self.wall_at(extended.until, now);
            // When the queue is full, the next attestation's extension is stored.
            let _ = self.inner.writes.try_send(Write::Extend(extended.id, until));
        }
    }

    /// Extends the session of an agent whose attestation has passed, as the operator has decided.
    pub fn attestation_passed(&self, agent: &AgentId) {
        match self.inner.options.extension {
            Extension::OnAttestation => self.extend_until(agent, self.now().after(self.inner.options.session_lifetime)),
            Extension::Never => {}
        }
    }

    /// Stores what is not stored yet and ends the writer; gives up after `limit`.
    pub async fn shutdown(&self, limit: Duration) {
        let (done, closed) = oneshot::channel();
        let close = async {
            if self.inner.writes.send(Write::Close(done)).await.is_ok() {
                let _ = closed.await;
            }
        };
        if tokio::time::timeout(limit, close).await.is_err() {
            tracing::warn!(target: "keylime.verifier", "extensions of sessions were not stored in time");
        }
    }

    async fn check_stored(&self, id: SessionId, token: &str, digest: TokenDigest) -> TokenVerdict {
        let Ok(turn) = self.inner.reads.acquire().await else { return TokenVerdict::Unknown };
        // Whoever waited here may find what another request has read.
        if let Some(verdict) = self.inner.active.admit(&id, &digest, self.now()) {
            return verdict_of(verdict);
        }
        let stored = match self.inner.ports.sessions.session(id).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return TokenVerdict::Unknown,
            Err(error) => {
                tracing::warn!(target: "keylime.verifier", %error, "a session could not be read");
                return TokenVerdict::Unavailable { retry_after_seconds: RETRY_AFTER_SECONDS };
            }
        };
        drop(turn);
        self.judge_stored(id, token, digest, stored).await
    }

    async fn judge_stored(
        &self,
        id: SessionId,
        token: &str,
        digest: TokenDigest,
        stored: StoredSession,
    ) -> TokenVerdict {
        let known = match stored.token {
            StoredToken::Digest(known) => known,
            StoredToken::Slow { salt, hash } => {
                if !self.inner.slow.matches(id, token, salt, hash).await {
                    return TokenVerdict::Unknown;
                }
                let _ = self.inner.writes.try_send(Write::Rehash(id, digest));
                digest
            }
        };
        if !known.matches(&digest) {
            return TokenVerdict::Unknown;
        }
        if !stored.active {
            return TokenVerdict::Inactive;
        }
        let Some(expires) = stored.expires else { return TokenVerdict::Expired };
        let now = self.now();
        let session = ActiveSession { agent: stored.agent, token: known, expires: self.at_wall(expires, now) };
        let verdict = session.admit(&digest, now).cloned();
        if verdict.is_ok() && !self.inner.active.adopt(id, session, now) {
            return TokenVerdict::Unknown;
        }
        verdict_of(verdict)
    }

    async fn store(
        &self,
        waiting: &Waiting,
        session: ActiveSession,
        proven: UtcMicros,
        expires: UtcMicros,
    ) -> Result<(), StoreError> {
        let stopped = || StoreError::Unavailable("the writer of sessions has stopped".to_owned());
        let row = SessionRow {
            id: waiting.session.id,
            agent: waiting.session.agent.clone(),
            token: session.token,
            challenge: waiting.session.challenge,
            created: waiting.created,
            challenge_expires: waiting.expires,
            proven,
            expires,
        };
        let (reply, answer) = oneshot::channel();
        let begin = Write::Begin { row: Box::new(row), session, reply };
        self.inner.writes.send(begin).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn postpone(&self, waiting: &Waiting, error: &StoreError) -> ProveRefusal {
        tracing::warn!(target: "keylime.verifier", agent = %waiting.session.agent, %error, "a session could not be begun");
        self.inner.pending.release(&waiting.session.id);
        ProveRefusal::Busy { retry_after_seconds: RETRY_AFTER_SECONDS }
    }

    async fn enrolled_key(&self, agent: &AgentId) -> Result<Option<String>, StoreError> {
        let Ok(_turn) = self.inner.reads.acquire().await else { return Ok(None) };
        Ok(self.inner.ports.agents.agent(agent.as_str()).await?.map(|agent| agent.ak_tpm))
    }

    /// Whether an agent is enrolled; not known is no.
    async fn is_enrolled(&self, agent: &AgentId) -> bool {
        matches!(self.enrolled_key(agent).await, Ok(Some(_)))
    }

    fn now(&self) -> Timestamp {
        self.inner.ports.clock.now().at
    }

    fn wall(&self) -> UtcMicros {
        UtcMicros::from_micros(self.inner.ports.clock.wall_micros().0)
    }

    /// The wall clock's reading at a moment to come.
    fn wall_at(&self, at: Timestamp, now: Timestamp) -> UtcMicros {
        let ahead = i64::try_from(at.since(now).as_micros()).unwrap_or(i64::MAX);
        UtcMicros::from_micros(self.inner.ports.clock.wall_micros().0.saturating_add(ahead))
    }

    /// The moment at which the wall clock, if nobody sets it, shows this time; what is past is just over.
    fn at_wall(&self, time: UtcMicros, now: Timestamp) -> Timestamp {
        let ahead = time.micros().saturating_sub(self.inner.ports.clock.wall_micros().0);
        match u64::try_from(ahead) {
            Ok(micros) => now.after(Duration::from_micros(micros)),
            Err(_) => Timestamp(now.0.saturating_sub(1)),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.inner.ports.entropy.fill(&mut bytes);
        bytes
    }
}

impl TokenExtension for SessionHandle {
    fn extend(&self, agent_id: &AgentId) {
        self.attestation_passed(agent_id);
    }
}

fn opened(waiting: &Waiting) -> Opened {
    Opened {
        id: waiting.session.id,
        agent: waiting.session.agent.clone(),
        challenge: waiting.session.challenge,
        created: waiting.created,
        challenge_expires: waiting.expires,
    }
}

fn verdict_of(admitted: Result<AgentId, TokenRejected>) -> TokenVerdict {
    match admitted {
        Ok(agent) => TokenVerdict::Agent(agent),
        Err(TokenRejected::Wrong) => TokenVerdict::Unknown,
        Err(TokenRejected::Expired) => TokenVerdict::Expired,
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
