//! Writes sessions in groups: new ones as soon as the last transaction is done, extensions once a second.

use super::active_sessions::ActiveSessions;
use super::port::{SessionRow, SessionStore};
use crate::ports::{Clock, StoreError};
use keylime_engine::identity::session_token::{SessionId, TokenDigest};
use keylime_engine::lifecycle::session::ActiveSession;
use keylime_schema::wire::v3::timestamp::UtcMicros;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Most new sessions in one transaction.
const MAX_GROUP: usize = 512;
/// Writes that may wait.
const QUEUE: usize = 4 * MAX_GROUP;
/// Time between two transactions of extensions.
const EXTENSION_PERIOD: Duration = Duration::from_secs(1);
/// Time between two purges of sessions that are over.
const PURGE_PERIOD: Duration = Duration::from_mins(10);

/// A write that waits.
pub(super) enum Write {
    /// A new session; it admits its agent only when it is stored.
    Begin { row: Box<SessionRow>, session: ActiveSession, reply: oneshot::Sender<Result<(), StoreError>> },
    /// A session goes on.
    Extend(SessionId, UtcMicros),
    /// The token of a session that Keylime has stored was checked.
    Rehash(SessionId, TokenDigest),
    /// Store everything and end.
    Close(oneshot::Sender<()>),
}

/// A new session on its way into the table.
struct Begin {
    row: SessionRow,
    session: ActiveSession,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The task that empties the queue.
pub(super) struct Writer {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) active: Arc<ActiveSessions>,
    pub(super) clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Write>,
    begins: Vec<Begin>,
    extensions: HashMap<SessionId, UtcMicros>,
    rehashes: Vec<(SessionId, TokenDigest)>,
    closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<dyn SessionStore>,
        active: Arc<ActiveSessions>,
        clock: Arc<dyn Clock>,
    ) -> (mpsc::Sender<Write>, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (begins, extensions, rehashes) = (Vec::new(), HashMap::new(), Vec::new());
        (sender, Self { store, active, clock, queue, begins, extensions, rehashes, closing: None })
    }

    /// Serves the queue until it is closed or every handle is gone.
    pub(super) async fn run(mut self) {
        let mut next_extensions = Instant::now() + EXTENSION_PERIOD;
        let mut next_purge = Instant::now();
        loop {
            tokio::select! {
                write = self.queue.recv() => match write {
                    Some(write) => self.gather(write),
                    None => break,
                },
                () = sleep_until(next_extensions), if self.has_extensions() => {}
                () = sleep_until(next_purge) => {
                    next_purge = Instant::now() + PURGE_PERIOD;
                    self.purge().await;
                }
            }
            self.store_begins().await;
            if next_extensions <= Instant::now() || self.closing.is_some() {
                self.store_extensions().await;
                next_extensions = Instant::now() + EXTENSION_PERIOD;
            }
            if let Some(done) = self.closing.take() {
                let _ = done.send(());
                return;
            }
        }
        self.store_extensions().await;
    }

    fn has_extensions(&self) -> bool {
        !self.extensions.is_empty() || !self.rehashes.is_empty()
    }

    /// Takes a write and all that wait behind it.
    fn gather(&mut self, first: Write) {
        self.accept(first);
        while self.begins.len() < MAX_GROUP {
            match self.queue.try_recv() {
                Ok(write) => self.accept(write),
                Err(_) => break,
            }
        }
    }

    fn accept(&mut self, write: Write) {
        match write {
            Write::Begin { row, session, reply } => self.begins.push(Begin { row: *row, session, reply }),
            Write::Extend(id, until) => {
                self.extensions.insert(id, until);
            }
            Write::Rehash(id, token) => self.rehashes.push((id, token)),
            Write::Close(done) => self.closing = Some(done),
        }
    }

    async fn store_begins(&mut self) {
        let mut group = std::mem::take(&mut self.begins);
        // Of two sessions of one agent, the later one counts.
        let last: HashMap<_, _> = group.iter().enumerate().map(|(at, begin)| (begin.row.agent.clone(), at)).collect();
        let counts = |at: usize, begin: &Begin| last.get(&begin.row.agent) == Some(&at);
        let rows: Vec<_> =
            group.iter().enumerate().filter(|(at, b)| counts(*at, b)).map(|(_, b)| b.row.clone()).collect();
        if rows.is_empty() {
            return;
        }
        let outcome = match self.store.begin(rows.clone()).await {
            Err(StoreError::Internal(_)) if rows.len() > 1 => {
                // One row that the database cannot take must not refuse the others.
                for begin in group.drain(..) {
                    let outcome = self.store.begin(vec![begin.row.clone()]).await;
                    self.finish(begin, outcome);
                }
                return;
            }
            outcome => outcome,
        };
        for begin in group {
            self.finish(begin, outcome.clone());
        }
    }

    fn finish(&self, begin: Begin, outcome: Result<(), StoreError>) {
        if outcome.is_ok() {
            self.active.begin(begin.row.id, begin.session, self.clock.now().at);
        }
        let _ = begin.reply.send(outcome);
    }

    async fn store_extensions(&mut self) {
        let batch: Vec<_> = self.extensions.drain().collect();
        if !batch.is_empty()
            && let Err(error) = self.store.extend(batch.clone()).await
        {
            tracing::warn!(target: "keylime.verifier", %error, "extensions of sessions could not be stored, trying again");
            for (id, until) in batch {
                self.extensions.entry(id).or_insert(until);
            }
        }
        for (id, token) in std::mem::take(&mut self.rehashes) {
            if let Err(error) = self.store.rehash(id, token).await {
                tracing::warn!(target: "keylime.verifier", %error, "hash of a token could not be replaced");
            }
        }
    }

    async fn purge(&self) {
        match self.store.purge(UtcMicros::from_micros(self.clock.wall_micros().0)).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(target: "keylime.verifier", count, "sessions that are over deleted"),
            Err(error) => {
                tracing::warn!(target: "keylime.verifier", %error, "sessions that are over could not be deleted");
            }
        }
    }
}
