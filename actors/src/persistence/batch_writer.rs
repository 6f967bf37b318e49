//! The one writer of the verifier's database: group commit for what must be durable, a quarter of a second of coalescing
//! for what need not.
//!
//! While one transaction runs, the next batch gathers, so that a single durable write waits for nobody and many share a
//! commit. When the database is away, writes that must not be lost are kept and tried again; their number is bounded
//! because [`BatchWriter::saturated`] closes admission: nobody is attested whose verdict could not be stored.

use crate::ports::{AgentProgress, ExplanationChange, StoreError, VerifierStore, VerifierWrite, WriteOutcome};
use keylime_engine::ids::AgentId;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// What a durable write answers with.
pub type Receipt = oneshot::Receiver<Result<WriteOutcome, StoreError>>;

/// Called for a coalesced write that found its row gone or in a state set by somebody else.
pub type OnGone = Box<dyn Fn(AgentId, Option<i32>) + Send + Sync>;

/// What to do with a durable write while the database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Refuse it; the caller decides.
    Once,
    /// Keep it until it is written.
    UntilWritten,
}

/// A handle to the writer; cheap to clone.
#[derive(Clone)]
pub struct BatchWriter {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn VerifierStore>,
    queue: Mutex<Queue>,
    wake: Notify,
    idle: Notify,
    outage: AtomicBool,
}

#[derive(Default)]
struct Queue {
    durable: VecDeque<Durable>,
    soon: HashMap<AgentId, Box<AgentProgress>>,
    soon_since: Option<Instant>,
    /// Set once: what is queued is written at once, then the task ends.
    closing: bool,
    writing: bool,
}

struct Durable {
    write: VerifierWrite,
    keep: Keep,
    attempts: u32,
    reply: oneshot::Sender<Result<WriteOutcome, StoreError>>,
}

#[derive(Default)]
#[allow(clippy::vec_box, reason = "rows arrive boxed, and sorting moves only pointers")]
struct Batch {
    soon: Vec<Box<AgentProgress>>,
    durable: Vec<Durable>,
}

impl BatchWriter {
    /// A writer whose queue is emptied by [`BatchWriter::run`].
    #[must_use]
    pub fn new(store: Arc<dyn VerifierStore>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                queue: Mutex::default(),
                wake: Notify::new(),
                idle: Notify::new(),
                outage: AtomicBool::new(false),
            }),
        }
    }

    /// Queues a write that takes part in the next commit. A coalesced write of the same agent that waits is superseded.
    pub fn durable(&self, mut write: VerifierWrite, keep: Keep) -> Receipt {
        let (reply, receipt) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if keep == Keep::Once && (queue.closing || self.is_saturated(&queue)) {
            // The receiver is in our hands, so it cannot be gone.
            let _ = reply.send(Err(StoreError::Unavailable("the writer is overloaded or stopping".to_owned())));
            return receipt;
        }
        if let VerifierWrite::Progress { progress, .. } | VerifierWrite::Conclude { progress, .. } = &mut write {
            keep_explanations(queue.soon.remove(&progress.agent_id), &mut progress.explanations);
        }
        queue.durable.push_back(Durable { write, keep, attempts: 0, reply });
        metrics::gauge!("keylime_verifier_write_queue").set(queue.durable.len() as f64);
        drop(queue);
        self.shared.wake.notify_one();
        receipt
    }

    /// Queues a write that may wait up to [`COALESCING`]; a later one of the same agent replaces it.
    pub fn soon(&self, progress: Box<AgentProgress>) {
        let mut queue = self.shared.queue.lock();
        queue.add_soon(progress);
        if queue.soon_since.is_none() {
            queue.soon_since = Some(Instant::now());
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Tells that a read found the database away: admission closes until it answers again.
    pub fn note_outage(&self, error: &StoreError) {
        if matches!(error, StoreError::Unavailable(_)) && !self.shared.outage.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "keylime.verifier", %error, "database unavailable, attestation pauses");
            self.shared.wake.notify_one();
        }
    }

    /// Whether no attestation may begin because its outcome might not be stored.
    #[must_use]
    pub fn saturated(&self) -> bool {
        self.shared.outage.load(Ordering::Relaxed) || self.is_saturated(&self.shared.queue.lock())
    }

    fn is_saturated(&self, queue: &Queue) -> bool {
        self.shared.outage.load(Ordering::Relaxed) || queue.durable.len() >= MAX_BACKLOG
    }

    /// Writes what is queued, then ends the task; false when that takes longer than `limit`.
    pub async fn close(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.queue.lock().is_done() {
                return true;
            }
            if timeout_at(deadline, idle).await.is_err() {
                return self.shared.queue.lock().is_done();
            }
        }
    }

    /// Empties the queue until [`BatchWriter::close`].
    pub async fn run(self, on_gone: OnGone) {
        let mut pause = FIRST_PAUSE;
        loop {
            let written = match self.next_batch() {
                Next::Batch(batch) => self.write(batch, &on_gone).await,
                // Nothing waits to be written that would notice the database's return.
                Next::Wait(_) if self.shared.outage.load(Ordering::Relaxed) => {
                    self.shared.store.agent("").await.map(drop)
                }
                Next::Wait(until) => {
                    self.wait(until).await;
                    continue;
                }
                Next::Done => break,
            };
            match written {
                Ok(()) => {
                    if self.shared.outage.swap(false, Ordering::Relaxed) {
                        tracing::info!(target: "keylime.verifier", "database available, attestation goes on");
                    }
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    self.note_outage(&error);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            self.shared.queue.lock().writing = false;
            self.shared.idle.notify_waiters();
        }
        self.shared.idle.notify_waiters();
    }

    fn next_batch(&self) -> Next {
        let mut queue = self.shared.queue.lock();
        let soon_due = queue.soon_since.map(|since| since + COALESCING);
        let take_soon = queue.closing || !queue.durable.is_empty() || soon_due.is_some_and(|due| due <= Instant::now());
        let mut batch = Batch::default();
        if take_soon && !queue.soon.is_empty() {
            let ids: Vec<AgentId> = queue.soon.keys().take(MAX_BATCH).cloned().collect();
            batch.soon = ids.iter().filter_map(|id| queue.soon.remove(id)).collect();
        }
        if queue.soon.is_empty() {
            queue.soon_since = None;
        }
        let durable = queue.durable.len().min(MAX_BATCH);
        batch.durable = queue.durable.drain(..durable).collect();
        metrics::gauge!("keylime_verifier_write_queue").set(queue.durable.len() as f64);
        if !batch.soon.is_empty() || !batch.durable.is_empty() {
            queue.writing = true;
            return Next::Batch(batch);
        }
        if queue.closing { Next::Done } else { Next::Wait(soon_due.filter(|_| queue.soon_since.is_some())) }
    }

    async fn wait(&self, until: Option<Instant>) {
        let wake = self.shared.wake.notified();
        match until {
            Some(until) => {
                tokio::select! { () = wake => {} () = sleep_until(until) => {} }
            }
            None => wake.await,
        }
    }

    /// Writes a batch; an error means that the database is away and the batch is back in the queue where it must not be
    /// lost.
    async fn write(&self, batch: Batch, on_gone: &OnGone) -> Result<(), StoreError> {
        let writes: Vec<VerifierWrite> = batch.writes().collect();
        metrics::histogram!("keylime_verifier_write_batch").record(writes.len() as f64);
        match self.shared.store.write(writes).await {
            Ok(outcomes) => {
                batch.settle(outcomes, on_gone);
                Ok(())
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.put_back(batch, &error);
                Err(error)
            }
            Err(StoreError::Internal(reason) | StoreError::TooLong(reason)) => {
                tracing::error!(target: "keylime.verifier", reason, "a batch was refused, its writes are tried alone");
                self.write_alone(batch, on_gone).await
            }
        }
    }

    /// One bad write must not keep the others of its batch from being stored.
    async fn write_alone(&self, batch: Batch, on_gone: &OnGone) -> Result<(), StoreError> {
        let mut rest = batch.split().into_iter();
        while let Some(mut single) = rest.next() {
            match self.shared.store.write(single.writes().collect()).await {
                Ok(outcomes) => single.settle(outcomes, on_gone),
                Err(error @ StoreError::Unavailable(_)) => {
                    self.put_back(single, &error);
                    rest.for_each(|waiting| self.put_back(waiting, &error));
                    return Err(error);
                }
                Err(error @ (StoreError::Internal(_) | StoreError::TooLong(_))) => {
                    tracing::error!(target: "keylime.verifier", %error, "a write was refused");
                    metrics::counter!("keylime_verifier_refused_writes").increment(1);
                    for durable in &mut single.durable {
                        durable.attempts += 1;
                    }
                    single.soon.clear();
                    self.put_back(single, &error);
                }
            }
        }
        Ok(())
    }

    fn put_back(&self, batch: Batch, error: &StoreError) {
        let mut queue = self.shared.queue.lock();
        for progress in batch.soon {
            queue.return_soon(progress);
        }
        if !queue.soon.is_empty() && queue.soon_since.is_none() {
            queue.soon_since = Some(Instant::now());
        }
        for durable in batch.durable.into_iter().rev() {
            if durable.keep == Keep::Once || durable.attempts >= MAX_ATTEMPTS {
                // Whoever asked has gone when nobody listens.
                let _ = durable.reply.send(Err(error.clone()));
            } else {
                queue.durable.push_front(durable);
            }
        }
    }
}

enum Next {
    Batch(Batch),
    Wait(Option<Instant>),
    Done,
}

impl Queue {
    /// Takes a coalesced write in the place of an earlier one of the same agent.
    fn add_soon(&mut self, mut progress: Box<AgentProgress>) {
        let earlier = self.soon.remove(&progress.agent_id);
        keep_explanations(earlier, &mut progress.explanations);
        self.soon.insert(progress.agent_id.clone(), progress);
    }

    /// Takes back a write that could not be carried out, unless a later one of the same agent came meanwhile.
    fn return_soon(&mut self, progress: Box<AgentProgress>) {
        match self.soon.get_mut(&progress.agent_id) {
            Some(later) => keep_explanations(Some(progress), &mut later.explanations),
            None => {
                self.soon.insert(progress.agent_id.clone(), progress);
            }
        }
    }

    fn is_done(&self) -> bool {
        !self.writing && self.durable.is_empty() && self.soon.is_empty()
    }
}

/// What an earlier write says of explanations holds unless the later one that supersedes it says something too.
fn keep_explanations(earlier: Option<Box<AgentProgress>>, later: &mut ExplanationChange) {
    if let Some(earlier) = earlier
        && *later == ExplanationChange::Keep
    {
        *later = earlier.explanations;
    }
}

impl Batch {
    /// Coalesced writes first: a durable one of the same agent is newer.
    fn writes(&self) -> impl Iterator<Item = VerifierWrite> + '_ {
        let soon = self.soon.iter().map(|p| VerifierWrite::Progress { progress: p.clone(), outbox: Vec::new() });
        soon.chain(self.durable.iter().map(|d| d.write.clone()))
    }

    fn settle(self, outcomes: Vec<WriteOutcome>, on_gone: &OnGone) {
        let mut outcomes = outcomes.into_iter();
        for (progress, outcome) in self.soon.into_iter().zip(outcomes.by_ref()) {
            if let WriteOutcome::Gone { stored_state } = outcome {
                on_gone(progress.agent_id, stored_state);
            }
        }
        for (durable, outcome) in self.durable.into_iter().zip(outcomes) {
            // Whoever asked has gone when nobody listens.
            let _ = durable.reply.send(Ok(outcome));
        }
    }

    fn split(self) -> Vec<Self> {
        let soon = self.soon.into_iter().map(|progress| Self { soon: vec![progress], durable: Vec::new() });
        let durable = self.durable.into_iter().map(|durable| Self { soon: Vec::new(), durable: vec![durable] });
        soon.chain(durable).collect()
    }
}

/// How long a write that announces nothing may wait for others.
pub const COALESCING: Duration = Duration::from_millis(250);
const MAX_BATCH: usize = 256;
/// Durable writes waiting when admission closes.
pub const MAX_BACKLOG: usize = 4096;
const MAX_ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
