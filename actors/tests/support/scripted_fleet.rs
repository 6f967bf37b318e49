//! Agents that answer as they are told, and remember what they were asked.

use async_trait::async_trait;
use keylime_actors::ports::{AgentCall, AgentMethod, AgentReply, EvidenceTransport, Unreachable};
use keylime_engine::ids::AgentId;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What an agent does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// A quote with this text in its place; with a payload key when asked for one.
    Quote(&'static str),
    /// A response.
    Respond(u16, &'static str),
    /// No answer.
    Silent,
    /// A good quote after a while.
    Slow(Duration),
}

/// A request as an agent saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub agent_id: AgentId,
    pub at: Instant,
    pub path: String,
    pub body: Option<String>,
}

/// The agents.
#[derive(Default)]
pub struct ScriptedFleet {
    scripts: Mutex<HashMap<AgentId, VecDeque<Act>>>,
    habits: Mutex<HashMap<AgentId, Act>>,
    asked: Mutex<Vec<Asked>>,
    payload_key: Mutex<String>,
    is_cold: AtomicBool,
    openings: AtomicUsize,
    most_openings: AtomicUsize,
}

impl ScriptedFleet {
    /// What an agent does next, once each, whatever it is asked; then it falls back into its habit.
    pub fn script(&self, agent_id: &AgentId, acts: impl IntoIterator<Item = Act>) {
        self.scripts.lock().entry(agent_id.clone()).or_default().extend(acts);
    }

    /// What an agent does with every quote request; good quotes unless told otherwise.
    pub fn habit(&self, agent_id: &AgentId, act: Act) {
        self.habits.lock().insert(agent_id.clone(), act);
    }

    /// From now on every request opens a connection, which takes as long as its answer.
    pub fn close_connections(&self) {
        self.is_cold.store(true, Ordering::Relaxed);
    }

    /// Most connections that were being opened at a time.
    pub fn most_openings(&self) -> usize {
        self.most_openings.load(Ordering::Relaxed)
    }

    /// The payload key of all agents, PEM.
    pub fn set_payload_key(&self, pem: &str) {
        *self.payload_key.lock() = pem.to_owned();
    }

    /// Requests to an agent so far.
    pub fn asked(&self, agent_id: &AgentId) -> Vec<Asked> {
        self.asked.lock().iter().filter(|asked| asked.agent_id == *agent_id).cloned().collect()
    }

    /// Their paths, with the nonce cut out.
    pub fn paths(&self, agent_id: &AgentId) -> Vec<String> {
        let shorten = |path: String| match path.split_once("nonce=") {
            Some((head, tail)) => format!("{head}{}", tail.split_once('&').map_or("", |(_, rest)| rest)),
            None => path,
        };
        self.asked(agent_id).into_iter().map(|asked| shorten(asked.path)).collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.asked.lock().clear();
    }

    fn next_act(&self, call: &AgentCall) -> Act {
        if let Some(act) = self.scripts.lock().get_mut(&call.agent_id).and_then(VecDeque::pop_front) {
            return act;
        }
        if call.path.contains("/keys/") {
            return Act::Respond(200, r#"{"code":200,"status":"Success","results":null}"#);
        }
        self.habits.lock().get(&call.agent_id).cloned().unwrap_or(Act::Quote("good"))
    }

    fn quote(&self, call: &AgentCall, text: &str) -> AgentReply {
        let mut results = serde_json::json!({ "quote": text });
        if call.path.contains("partial=0") {
            results["pubkey"] = self.payload_key.lock().as_str().into();
        }
        let body = serde_json::json!({ "code": 200, "status": "Success", "results": results }).to_string();
        AgentReply::Response { status: 200, body: body.into() }
    }
}

#[async_trait]
impl EvidenceTransport for ScriptedFleet {
    fn is_connected(&self, _: &AgentId) -> bool {
        !self.is_cold.load(Ordering::Relaxed)
    }

    async fn send(&self, call: AgentCall) -> AgentReply {
        let opens = usize::from(call.opening.is_some());
        let now = self.openings.fetch_add(opens, Ordering::Relaxed) + opens;
        self.most_openings.fetch_max(now, Ordering::Relaxed);
        let reply = self.answer(&call).await;
        self.openings.fetch_sub(opens, Ordering::Relaxed);
        reply
    }

    fn forget(&self, _: &AgentId) {}
}

impl ScriptedFleet {
    async fn answer(&self, call: &AgentCall) -> AgentReply {
        let body = match &call.method {
            AgentMethod::Get => None,
            AgentMethod::PostJson(body) => Some(String::from_utf8_lossy(body).into_owned()),
        };
        let asked = Asked { agent_id: call.agent_id.clone(), at: Instant::now(), path: call.path.clone(), body };
        self.asked.lock().push(asked);
        let act = self.next_act(call);
        tokio::time::sleep(Duration::from_millis(5)).await;
        match act {
            Act::Quote(text) => self.quote(call, text),
            Act::Respond(status, body) => AgentReply::Response { status, body: body.into() },
            Act::Silent => AgentReply::Unreachable(Unreachable::Timeout),
            Act::Slow(delay) => {
                tokio::time::sleep(delay).await;
                self.quote(call, "good")
            }
        }
    }
}
