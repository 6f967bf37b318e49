//! Sessions that wait for their proof: in memory only, and no more than fit.

use super::limits::Place;
use hashbrown::HashMap;
use keylime_engine::identity::session_token::SessionId;
use keylime_engine::lifecycle::session::PendingSession;
use keylime_engine::time::Timestamp;
use keylime_schema::wire::v3::timestamp::UtcMicros;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

/// Most sessions that wait. A genuine agent answers at once, so the oldest give way.
const MAX_PENDING: usize = 65_536;
/// How long an expired session is kept, so that a late answer is told that it is late.
const KEPT_EXPIRED: Duration = Duration::from_mins(1);

/// A session that waits, and what is needed when it ends.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) session: PendingSession,
    /// Its place among the rate limits, and when it was taken.
    pub(super) place: (Place, Timestamp),
    pub(super) created: UtcMicros,
    pub(super) expires: UtcMicros,
}

/// The sessions that wait.
#[derive(Default)]
pub(super) struct PendingSessions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_id: HashMap<SessionId, Entry>,
    /// In the order of their making, which is that of their expiry; ids of sessions that have ended stay until their turn.
    order: VecDeque<SessionId>,
}

struct Entry {
    waiting: Waiting,
    claim: Claim,
}

/// Whether an answer to the challenge is being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Free,
    Judged,
}

impl PendingSessions {
    pub(super) fn insert(&self, waiting: Waiting, now: Timestamp) {
        let mut state = self.state.lock();
        state.drop_old(now);
        state.order.push_back(waiting.session.id);
        state.by_id.insert(waiting.session.id, Entry { waiting, claim: Claim::Free });
    }

    /// The session, if no answer to its challenge is being judged.
    pub(super) fn get(&self, id: &SessionId) -> Option<Waiting> {
        let state = self.state.lock();
        state.by_id.get(id).filter(|entry| entry.claim == Claim::Free).map(|entry| entry.waiting.clone())
    }

    /// Claims a session for one answer: of two that come at once, one finds it.
    pub(super) fn claim(&self, id: &SessionId) -> Option<Waiting> {
        let mut state = self.state.lock();
        let entry = state.by_id.get_mut(id).filter(|entry| entry.claim == Claim::Free)?;
        entry.claim = Claim::Judged;
        Some(entry.waiting.clone())
    }

    /// Lets a session that could not be judged wait on.
    pub(super) fn release(&self, id: &SessionId) {
        if let Some(entry) = self.state.lock().by_id.get_mut(id) {
            entry.claim = Claim::Free;
        }
    }

    /// Ends a session that was judged.
    pub(super) fn end(&self, id: &SessionId) {
        self.state.lock().by_id.remove(id);
    }
}

impl State {
    fn drop_old(&mut self, now: Timestamp) {
        while let Some(id) = self.order.front() {
            let kept = self.by_id.get(id).is_some_and(|entry| now <= entry.waiting.session.expires.after(KEPT_EXPIRED));
            if kept && self.order.len() < MAX_PENDING {
                break;
            }
            self.by_id.remove(id);
            self.order.pop_front();
        }
    }
}
