//! What an actor makes of its writes: the notice that goes into the same transaction as a verdict, and what came of a row.

use crate::ports::{OutboxRow, StoreError, WriteOutcome};
use crate::verifier::shard_context::ShardContext;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::{Notice, OperationalState};
use keylime_engine::time::Now;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The outbox row of a notice; `None` when the agent's row is gone. Reading that row is tried for as long as the database is
/// away, by as many actors at a time as there are permits for: a fleet that fails all at once must not look like an outage.
pub(super) async fn outbox_of(
    shard: &Rc<ShardContext>,
    agent_id: &AgentId,
    notice: Notice,
    label: String,
    now: Now,
) -> Option<Vec<OutboxRow>> {
    let mut pause = Duration::from_millis(100);
    let record = loop {
        let read = {
            let _permit = shard.system.row_reads.enter().await;
            shard.store().agent(agent_id.as_str()).await
        };
        match read {
            Ok(record) => break record?,
            Err(error) => {
                shard.writer().note_outage(&error);
                tokio::time::sleep(pause).await;
            }
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    };
    let composer = Arc::clone(shard.composer());
    let composed = shard.system.pool.run(move || composer.compose(&record, &notice, &label, now)).await;
    Some(match composed {
        Ok(Ok(row)) => vec![row],
        Ok(Err(reason)) => unsendable(agent_id, &reason),
        Err(panic) => unsendable(agent_id, &panic.to_string()),
    })
}

/// A notice that cannot be made keeps no verdict from being stored.
fn unsendable(agent_id: &AgentId, reason: &str) -> Vec<OutboxRow> {
    metrics::counter!("keylime_verifier_unsendable_notices_total").increment(1);
    tracing::error!(target: "keylime.revocation", %agent_id, reason, "the revocation notice cannot be composed");
    Vec::new()
}

/// The outcome of a write whose writer has ended.
pub(super) fn writer_stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".to_owned())
}

/// A state as the database has it.
pub(super) fn state_of(code: i32) -> Option<OperationalState> {
    OperationalState::from_code(i64::from(code))
}

/// A row that was not written because it is gone, or was put into another state by somebody else.
pub(super) struct RowChanged {
    /// Its state now; `None` when it is gone.
    pub stored: Option<OperationalState>,
}

/// Reports what came of writing an agent's row.
pub(super) fn row_change(agent_id: &AgentId, outcome: Result<WriteOutcome, StoreError>) -> Option<RowChanged> {
    match outcome {
        Ok(WriteOutcome::Gone { stored_state }) => return Some(RowChanged { stored: stored_state.and_then(state_of) }),
        Ok(WriteOutcome::Refused(reason)) => {
            tracing::error!(target: "keylime.verifier", %agent_id, reason, "the database refuses the agent's state");
        }
        Ok(_) => {}
        Err(error) => {
            tracing::error!(target: "keylime.verifier", %agent_id, %error, "the agent's state could not be stored");
        }
    }
    None
}
