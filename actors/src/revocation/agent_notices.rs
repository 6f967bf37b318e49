//! Notices to the other agents: `POST /v{version}/notifications/revocation` at each agent of this verifier but the failing
//! one (`revocation-and-severity.md` §6).
//!
//! Bounded in every direction: one request per agent, a fixed number over all agents, a fixed backlog (see [`notice_log`]).
//! An agent that cannot be reached is passed over, as in the reference: it is being attested, which tells more about it than
//! a notice could tell it.
//!
//! [`notice_log`]: super::notice_log

pub use super::notice_log::NoticeTarget;

use super::notice_log::{Assignment, NoticeLog};
use super::notifier::{Delivery, Notifier};
use crate::ports::{AgentCall, AgentMethod, AgentReply, EvidenceTransport, OutboxRow, StoreError, VerifierStore};
use crate::verifier::AgentTls;
use crate::verifier::agent_material;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use keylime_engine::evidence::agent_reply::{classify_share_reply, classify_version_reply};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::api_version::{ApiVersion, renegotiate};
use keylime_engine::lifecycle::{ShareReply, VersionReply};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Bounds of the fan-out.
#[derive(Debug, Clone, Copy)]
pub struct NoticeBounds {
    /// Requests under way over all agents.
    pub concurrency: usize,
    /// Notices times agents that may wait; beyond it agents skip to the newest.
    pub backlog: usize,
    /// How long the list of agents is used before it is read again.
    pub refresh: Duration,
}

impl Default for NoticeBounds {
    fn default() -> Self {
        Self { concurrency: 32, backlog: 20_000, refresh: Duration::from_secs(10) }
    }
}

/// The notifier.
pub struct AgentNotices {
    shared: Arc<Shared>,
    rows: Mutex<Option<mpsc::Sender<Job>>>,
}

struct Shared {
    store: Arc<dyn VerifierStore>,
    verifier_id: String,
    transport: Arc<dyn EvidenceTransport>,
    tls: AgentTls,
    bounds: NoticeBounds,
}

struct Job {
    about: AgentId,
    body: Bytes,
    reply: oneshot::Sender<Delivery>,
}

impl AgentNotices {
    /// A notifier for the agents of `verifier_id`.
    #[must_use]
    pub fn new(
        store: Arc<dyn VerifierStore>,
        verifier_id: impl Into<String>,
        transport: Arc<dyn EvidenceTransport>,
        tls: AgentTls,
        bounds: NoticeBounds,
    ) -> Self {
        let shared = Arc::new(Shared { store, verifier_id: verifier_id.into(), transport, tls, bounds });
        Self { shared, rows: Mutex::new(None) }
    }

    /// The way to the fan-out task, which is started when there is none.
    fn fan_out(&self) -> mpsc::Sender<Job> {
        let mut rows = self.rows.lock();
        if let Some(sender) = rows.as_ref().filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, receiver) = mpsc::channel(WINDOW);
        tokio::spawn(fan_out(Arc::clone(&self.shared), receiver));
        *rows = Some(sender.clone());
        sender
    }
}

#[async_trait]
impl Notifier for AgentNotices {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn window(&self) -> usize {
        WINDOW
    }

    async fn deliver(&self, row: &OutboxRow) -> Delivery {
        let (reply, answer) = oneshot::channel();
        let body = Bytes::copy_from_slice(row.body.as_bytes());
        let job = Job { about: row.agent_id.clone(), body, reply };
        if self.fan_out().send(job).await.is_err() {
            return Delivery::Away("fan-out has ended".to_owned());
        }
        answer.await.unwrap_or_else(|_| Delivery::Away("fan-out has ended".to_owned()))
    }
}

async fn fan_out(shared: Arc<Shared>, mut rows: mpsc::Receiver<Job>) {
    let mut log: NoticeLog<oneshot::Sender<Delivery>> = NoticeLog::new(shared.bounds.backlog);
    let mut requests = FuturesUnordered::new();
    let mut read_at: Option<Instant> = None;
    let mut round = 0;
    let mut open = true;
    while open || !requests.is_empty() {
        tokio::select! {
            job = rows.recv(), if open => match job {
                None => open = false,
                Some(job) => {
                    if read_at.is_none_or(|at| at.elapsed() >= shared.bounds.refresh) {
                        match targets(&shared).await {
                            Ok(targets) => {
                                round += 1;
                                log.set_targets(targets, round);
                                read_at = Some(Instant::now());
                            }
                            Err(error) => {
                                let _ = job.reply.send(Delivery::Away(error.to_string()));
                                continue;
                            }
                        }
                    }
                    log.append(job.about, job.body, job.reply);
                }
            },
            Some(assignment) = requests.next() => {
                let assignment: Assignment = assignment;
                log.finished(&assignment.target.agent_id, assignment.sequence);
            }
        }
        while requests.len() < shared.bounds.concurrency.max(1) {
            let Some(assignment) = log.next() else { break };
            requests.push(request(Arc::clone(&shared), assignment));
        }
        for reply in log.passed() {
            let _ = reply.send(Delivery::Confirmed);
        }
    }
}

async fn request(shared: Arc<Shared>, assignment: Assignment) -> Assignment {
    match notify(&shared, &assignment).await {
        Ok(()) => metrics::counter!("revocation_agent_notices_total", "outcome" => "taken").increment(1),
        Err(reason) => {
            metrics::counter!("revocation_agent_notices_total", "outcome" => "passed_over").increment(1);
            tracing::debug!(
                target: "keylime.revocation", agent_id = %assignment.target.agent_id, reason,
                "agent did not take a revocation notice"
            );
        }
    }
    assignment
}

/// Posts a notice; once more in another version when the agent asks for one.
async fn notify(shared: &Shared, assignment: &Assignment) -> Result<(), String> {
    let target = &assignment.target;
    let (status, body) = post(shared, assignment, target.version).await?;
    // An agent answers every POST in a version that it does not speak alike.
    if classify_share_reply(status, &body) != ShareReply::VersionUnsupported {
        return taken(status);
    }
    let (status, body) = call(shared, assignment, "/version".to_owned(), AgentMethod::Get).await?;
    let VersionReply::Offers(offers) = classify_version_reply(status, &body) else {
        return Err("agent offers no version".to_owned());
    };
    // A notice is no evidence: whatever common version reaches the agent will do.
    let version = renegotiate(&offers, target.version, 0).map_err(|error| error.to_string())?;
    taken(post(shared, assignment, version).await?.0)
}

fn taken(status: u16) -> Result<(), String> {
    if status == 200 { Ok(()) } else { Err(format!("agent answered {status}")) }
}

async fn post(shared: &Shared, assignment: &Assignment, version: ApiVersion) -> Result<(u16, Bytes), String> {
    let path = format!("/v{version}/notifications/revocation");
    call(shared, assignment, path, AgentMethod::PostJson(assignment.body.clone())).await
}

async fn call(
    shared: &Shared,
    assignment: &Assignment,
    path: String,
    method: AgentMethod,
) -> Result<(u16, Bytes), String> {
    let target = &assignment.target;
    let (agent_id, endpoint) = (target.agent_id.clone(), Arc::clone(&target.endpoint));
    match shared.transport.send(AgentCall { agent_id, endpoint, path, method, opening: None }).await {
        AgentReply::Response { status, body } => Ok((status, body)),
        AgentReply::Unreachable(reason) => Err(reason.to_string()),
    }
}

/// The agents of this verifier that have an address; push agents have none.
async fn targets(shared: &Shared) -> Result<Vec<NoticeTarget>, StoreError> {
    let mut targets = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = shared.store.agents_page(Some(&shared.verifier_id), after.as_deref(), AGENTS_PAGE).await?;
        targets.extend(page.agents.into_iter().filter_map(|agent| {
            // An agent that cannot be asked for evidence cannot be told either.
            let endpoint = Arc::new(agent_material::endpoint(&agent, shared.tls).ok()?);
            let version = ApiVersion::from_stored(&agent.supported_version);
            Some(NoticeTarget { agent_id: agent.agent_id, endpoint, version })
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(targets),
        }
    }
}

/// Notices that may wait for the fan-out; later ones stay in the outbox.
const WINDOW: usize = 1024;
const AGENTS_PAGE: u64 = 500;
