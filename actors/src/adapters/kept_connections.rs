//! Idle connections to agents, one per agent.

use crate::adapters::http_evidence_transport::Sender;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::deadline::stable_hash;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections.
pub struct KeptConnections {
    stripes: [Mutex<HashMap<AgentId, Sender>>; STRIPES],
    count: AtomicUsize,
    limit: usize,
}

impl KeptConnections {
    /// Keeps at most `limit` connections.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()), count: AtomicUsize::new(0), limit }
    }

    /// Takes the connection to an agent, unless there is none or it was closed.
    pub fn take(&self, agent_id: &AgentId) -> Option<Sender> {
        let sender = self.stripe(agent_id).lock().remove(agent_id)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        (!sender.is_closed()).then_some(sender)
    }

    /// Whether there is a connection to an agent that was not closed yet.
    pub fn has(&self, agent_id: &AgentId) -> bool {
        self.stripe(agent_id).lock().get(agent_id).is_some_and(|sender| !sender.is_closed())
    }

    /// Keeps a connection for the agent's next request, or closes it when there are enough.
    pub fn keep(&self, agent_id: &AgentId, sender: Sender) {
        if self.count.load(Ordering::Relaxed) >= self.limit {
            return;
        }
        if self.stripe(agent_id).lock().insert(agent_id.clone(), sender).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets go of a connection that was closed: what is left of one is ten times as large as an agent that rests.
    pub fn drop_closed(&self, agent_id: &AgentId) {
        let mut stripe = self.stripe(agent_id).lock();
        if stripe.get(agent_id).is_some_and(Sender::is_closed) {
            stripe.remove(agent_id);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Connections that are kept.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn stripe(&self, agent_id: &AgentId) -> &Mutex<HashMap<AgentId, Sender>> {
        &self.stripes[usize::try_from(stable_hash(agent_id.as_str()) >> 40).unwrap_or(0) % STRIPES]
    }
}

const STRIPES: usize = 32;
