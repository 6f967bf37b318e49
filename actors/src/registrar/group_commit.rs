//! Group commit: many registrations become one transaction, and each caller hears of its own outcome after the commit.

use crate::ports::{RegistrarStore, RegistrationOutcome, RegistrationRecord, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Queues writes; cheap to clone.
#[derive(Clone)]
pub(super) struct GroupCommit(mpsc::Sender<Write>);

#[allow(clippy::large_enum_variant, reason = "nearly every write is a registration")]
enum Write {
    Register {
        seen: Option<Box<RegistrationRecord>>,
        record: Box<RegistrationRecord>,
        reply: oneshot::Sender<Result<RegistrationOutcome, StoreError>>,
    },
    Delete {
        agent_id: String,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
}

/// Bounds of one commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommitBounds {
    /// Longest time that the first write of a batch waits for company.
    pub(super) linger: Duration,
    /// Most writes in one transaction.
    pub(super) batch: usize,
}

impl GroupCommit {
    /// A queue and the future that serves it until every handle is gone.
    pub(super) fn new(store: Arc<dyn RegistrarStore>, bounds: CommitBounds) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(bounds.batch.max(1) * 4);
        (Self(sender), serve(store, receiver, bounds))
    }

    /// Writes one registration if the stored row still is `seen`.
    pub(super) async fn register(
        &self,
        seen: Option<RegistrationRecord>,
        record: RegistrationRecord,
    ) -> Result<RegistrationOutcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Write::Register { seen: seen.map(Box::new), record: Box::new(record), reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Deletes one registration; answers whether it existed.
    pub(super) async fn delete(&self, agent_id: String) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Write::Delete { agent_id, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn queue(&self, write: Write) -> Result<(), StoreError> {
        self.0.send(write).await.map_err(|_| stopped())
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".to_owned())
}

async fn serve(store: Arc<dyn RegistrarStore>, mut queue: mpsc::Receiver<Write>, bounds: CommitBounds) {
    let limit = bounds.batch.max(1);
    let mut batch = Vec::with_capacity(limit);
    while let Some(first) = queue.recv().await {
        batch.push(first);
        let linger = tokio::time::sleep(bounds.linger);
        tokio::pin!(linger);
        while batch.len() < limit {
            tokio::select! {
                biased;
                next = queue.recv() => match next {
                    Some(write) => batch.push(write),
                    None => break,
                },
                () = &mut linger => break,
            }
        }
        commit(&*store, std::mem::take(&mut batch)).await;
    }
}

async fn commit(store: &dyn RegistrarStore, batch: Vec<Write>) {
    let mut rows = Vec::with_capacity(batch.len());
    let mut row_replies = Vec::with_capacity(batch.len());
    let mut ids = Vec::new();
    let mut id_replies = Vec::new();
    for write in batch {
        match write {
            Write::Register { seen, record, reply } => {
                rows.push((seen.map(|row| *row), *record));
                row_replies.push(reply);
            }
            Write::Delete { agent_id, reply } => {
                ids.push(agent_id);
                id_replies.push(reply);
            }
        }
    }
    // One id is never twice in a batch (its task waits for the answer), so the two kinds need no order between them.
    if !rows.is_empty() {
        metrics::histogram!("registrar_commit_rows").record(f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        for (reply, outcome) in row_replies.into_iter().zip(register_all(store, rows).await) {
            let _ = reply.send(outcome);
        }
    }
    if !ids.is_empty() {
        let count = ids.len();
        let outcomes = match store.delete(ids).await {
            Ok(existed) if existed.len() == count => existed.into_iter().map(Ok).collect(),
            Ok(_) => vec![Err(short_answer()); count],
            Err(error) => vec![Err(error); count],
        };
        for (reply, outcome) in id_replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome);
        }
    }
}

/// Writes all rows in one transaction, or each alone when the store refuses the transaction as a whole: one row that the
/// database cannot take must not refuse the others.
async fn register_all(
    store: &dyn RegistrarStore,
    rows: Vec<(Option<RegistrationRecord>, RegistrationRecord)>,
) -> Vec<Result<RegistrationOutcome, StoreError>> {
    let count = rows.len();
    let retry = (count > 1).then(|| rows.clone());
    match store.register(rows).await {
        Ok(outcomes) if outcomes.len() == count => outcomes.into_iter().map(Ok).collect(),
        Ok(_) => vec![Err(short_answer()); count],
        Err(error @ StoreError::Unavailable(_)) => vec![Err(error); count],
        Err(error @ (StoreError::Internal(_) | StoreError::TooLong(_))) => {
            let Some(rows) = retry else { return vec![Err(error)] };
            let mut outcomes = Vec::with_capacity(count);
            for row in rows {
                outcomes.push(match store.register(vec![row]).await {
                    Ok(mut one) => one.pop().ok_or_else(short_answer),
                    Err(error) => Err(error),
                });
            }
            outcomes
        }
    }
}

fn short_answer() -> StoreError {
    StoreError::Internal("the store answered for fewer rows than it was given".to_owned())
}
