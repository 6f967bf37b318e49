//! Active sessions in memory: a bounded cache of the table.

use hashbrown::HashMap;
use keylime_engine::identity::session_token::{SessionId, TokenDigest};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::session::{ActiveSession, TokenRejected};
use keylime_engine::time::Timestamp;
use parking_lot::RwLock;

/// Most sessions in memory; others are read from the table when they are needed.
const MAX_ACTIVE: usize = 262_144;

/// The active sessions, at most one for each agent.
#[derive(Default)]
pub(super) struct ActiveSessions {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    by_id: HashMap<SessionId, Cached>,
    by_agent: HashMap<AgentId, SessionId>,
}

struct Cached {
    session: ActiveSession,
    /// The end as it is in the table, or about to be.
    stored_end: Timestamp,
}

/// An extension that is to be stored.
pub(super) struct Extended {
    pub(super) id: SessionId,
    pub(super) until: Timestamp,
}

impl ActiveSessions {
    /// What a token is worth; `None` when its session is not in memory.
    pub(super) fn admit(
        &self,
        id: &SessionId,
        token: &TokenDigest,
        now: Timestamp,
    ) -> Option<Result<AgentId, TokenRejected>> {
        let state = self.state.read();
        state.by_id.get(id).map(|cached| cached.session.admit(token, now).cloned())
    }

    /// Puts a new session in the place of every other of its agent.
    pub(super) fn begin(&self, id: SessionId, session: ActiveSession, now: Timestamp) {
        self.state.write().insert(id, session, now);
    }

    /// Takes a session from the table, unless its agent has another one here, which is newer; answers whether it did.
    pub(super) fn adopt(&self, id: SessionId, session: ActiveSession, now: Timestamp) -> bool {
        let mut state = self.state.write();
        if state.by_agent.get(&session.agent).is_some_and(|other| *other != id) {
            return false;
        }
        // Another request may have read it first, and an attestation have extended it since.
        if !state.by_id.contains_key(&id) {
            state.insert(id, session, now);
        }
        true
    }

    /// Lets the agent's session go on; answers what to store, which is not every small step.
    pub(super) fn extend(
        &self,
        agent: &AgentId,
        now: Timestamp,
        until: Timestamp,
        unstored: std::time::Duration,
    ) -> Option<Extended> {
        let mut state = self.state.write();
        let id = *state.by_agent.get(agent)?;
        let cached = state.by_id.get_mut(&id)?;
        if !cached.session.extend(now, until) || until.since(cached.stored_end) < unstored {
            return None;
        }
        cached.stored_end = until;
        Some(Extended { id, until })
    }
}

impl State {
    fn insert(&mut self, id: SessionId, session: ActiveSession, now: Timestamp) {
        if let Some(other) = self.by_agent.insert(session.agent.clone(), id) {
            self.by_id.remove(&other);
        } else if self.by_id.len() >= MAX_ACTIVE {
            self.make_room(now);
        }
        let stored_end = session.expires;
        self.by_id.insert(id, Cached { session, stored_end });
    }

    fn make_room(&mut self, now: Timestamp) {
        let over: Vec<SessionId> =
            self.by_id.iter().filter(|(_, cached)| cached.session.is_over(now)).map(|(id, _)| *id).collect();
        let gone = if over.is_empty() { self.by_id.keys().take(MAX_ACTIVE / 64).copied().collect() } else { over };
        for id in gone {
            if let Some(cached) = self.by_id.remove(&id) {
                self.by_agent.remove(&cached.session.agent);
            }
        }
    }
}
