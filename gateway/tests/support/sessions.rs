//! Sessions in memory.

use async_trait::async_trait;
use keylime_actors::ports::{StoreError, VerifierStore};
use keylime_actors::runtime::clock::SystemClock;
use keylime_actors::runtime::entropy::SystemEntropy;
use keylime_actors::sessions::{
    SessionHandle, SessionOptions, SessionPorts, SessionRow, SessionStore, StoredSession, StoredToken,
};
use keylime_engine::identity::session_token::{SessionId, SessionToken, TokenDigest};
use keylime_engine::ids::AgentId;
use keylime_schema::wire::v3::timestamp::UtcMicros;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The table of sessions.
#[derive(Default)]
pub struct MemorySessions {
    rows: Mutex<BTreeMap<SessionId, StoredSession>>,
    /// The database does not answer.
    pub away: AtomicBool,
}

impl MemorySessions {
    /// Stores a session of this agent that ends so many seconds from now; answers its token.
    pub fn add(&self, agent: &str, seconds: i64) -> String {
        let number = u8::try_from(self.rows.lock().unwrap().len()).unwrap();
        let id = SessionId::from_entropy([number; 16]);
        let token = SessionToken::new(id, &[number; 32]);
        let stored = StoredSession {
            agent: AgentId::parse(agent).unwrap(),
            token: StoredToken::Digest(token.digest()),
            active: true,
            expires: Some(now().plus_seconds(seconds)),
        };
        self.rows.lock().unwrap().insert(id, stored);
        token.expose().to_owned()
    }

    /// Lets the agent's session wait for its proof.
    pub fn deactivate(&self, agent: &str) {
        for row in self.rows.lock().unwrap().values_mut().filter(|row| row.agent.as_str() == agent) {
            row.active = false;
        }
    }

    fn reachable(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("scripted".to_owned())),
            false => Ok(()),
        }
    }
}

fn now() -> UtcMicros {
    UtcMicros::from_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap())
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn begin(&self, batch: Vec<SessionRow>) -> Result<(), StoreError> {
        self.reachable()?;
        let mut rows = self.rows.lock().unwrap();
        for row in batch {
            rows.retain(|_, stored| stored.agent != row.agent);
            let token = StoredToken::Digest(row.token);
            rows.insert(row.id, StoredSession { agent: row.agent, token, active: true, expires: Some(row.expires) });
        }
        Ok(())
    }
    async fn extend(&self, batch: Vec<(SessionId, UtcMicros)>) -> Result<(), StoreError> {
        self.reachable()?;
        let mut rows = self.rows.lock().unwrap();
        for (id, until) in batch {
            if let Some(row) = rows.get_mut(&id) {
                row.expires = Some(until);
            }
        }
        Ok(())
    }
    async fn rehash(&self, id: SessionId, token: TokenDigest) -> Result<(), StoreError> {
        self.reachable()?;
        if let Some(row) = self.rows.lock().unwrap().get_mut(&id) {
            row.token = StoredToken::Digest(token);
        }
        Ok(())
    }
    async fn session(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        self.reachable()?;
        Ok(self.rows.lock().unwrap().get(&id).cloned())
    }
    async fn purge(&self, ended_before: UtcMicros) -> Result<u64, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let before = rows.len();
        rows.retain(|_, row| row.expires.is_none_or(|expires| expires >= ended_before));
        Ok((before - rows.len()) as u64)
    }
}

/// Sessions over these tables, with a writer in a thread of its own.
pub fn sessions(
    options: SessionOptions,
    agents: Arc<dyn VerifierStore>,
    sessions: Arc<dyn SessionStore>,
) -> SessionHandle {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let (handle, writer) = SessionHandle::new(options, SessionPorts { agents, sessions, clock, entropy });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(writer);
    });
    handle
}
