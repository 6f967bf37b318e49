//! Changes of enrolled agents.

use crate::persistence::batch_writer::Keep;
use crate::ports::{AgentAmendment, AgentRecord, StoreError, VerifierWrite, WriteOutcome};
use crate::verifier::agent_material::AgentMaterial;
use crate::verifier::api::{AmendError, CommandError};
use crate::verifier::push_material::PushMaterial;
use crate::verifier::recovery::{is_pull, is_pushed};
use crate::verifier::shard_supervisor::Announce;
use crate::verifier::verifier_handle::{RETRY_AFTER_SECONDS, VerifierHandle};
use keylime_engine::ids::AgentId;
use std::time::Duration;

/// How long a change waits for the one before it, which may be waiting for the database.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

impl VerifierHandle {
    /// Changes what an agent was enrolled with; it is stored when this answers, and the agent is judged by it from its next
    /// quote on. Evidence that was asked for on the old terms is given up.
    ///
    /// # Errors
    /// See [`AmendError`].
    pub async fn amend(&self, agent_id: &AgentId, changes: AgentAmendment) -> Result<(), AmendError> {
        if self.is_stopping() || self.inner.system.writer.saturated() {
            return Err(AmendError::Command(CommandError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS }));
        }
        // One after the other, so that an actor never hears of an older state after a newer one.
        let turn = tokio::time::timeout(TURN_PATIENCE, self.inner.amending.lock()).await;
        let busy = CommandError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS };
        let _turn = turn.map_err(|_| busy)?;
        let mut record = self.owned(agent_id).await?;
        changes.apply(&mut record);
        self.check(&record)?;
        let write = VerifierWrite::Amend { agent_id: agent_id.clone(), changes: Box::new(changes) };
        match self.write(write, Keep::Once).await? {
            WriteOutcome::Written => {}
            WriteOutcome::Gone { .. } => return Err(CommandError::NotFound.into()),
            WriteOutcome::RuntimePolicyExists(name) => return Err(AmendError::RuntimePolicyExists(name)),
            WriteOutcome::RuntimePolicyMissing(name) => return Err(AmendError::RuntimePolicyMissing(name)),
            WriteOutcome::BootPolicyExists(name) => return Err(AmendError::BootPolicyExists(name)),
            WriteOutcome::BootPolicyMissing(name) => return Err(AmendError::BootPolicyMissing(name)),
            WriteOutcome::Refused(reason) => return Err(AmendError::Invalid(reason)),
            WriteOutcome::Enrolled { .. } | WriteOutcome::AgentExists => {
                return Err(StoreError::Internal("unexpected outcome of a change".to_owned()).into());
            }
        }
        self.inner.system.policies.changed();
        self.tell_of_row(agent_id).await;
        Ok(())
    }

    /// Tells an agent's actor of its row. What is stored counts, so reading it is tried for as long as the database is away:
    /// an actor that did not hear would go on judging by terms that were withdrawn.
    async fn tell_of_row(&self, agent_id: &AgentId) {
        let mut pause = Duration::from_millis(100);
        let record = loop {
            match self.owned(agent_id).await {
                Ok(record) => break record,
                Err(CommandError::Store(error)) => self.inner.system.writer.note_outage(&error),
                // Without a row of this verifier, or at its end, nobody is judged by it.
                Err(CommandError::NotFound | CommandError::OtherVerifier | CommandError::Busy { .. }) => return,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        };
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        // A shard that has ended judges nobody.
        let _ = shard.send(Announce::Amended(Box::new(record))).await;
    }

    /// Whether the agent could be attested with this row.
    fn check(&self, record: &AgentRecord) -> Result<(), AmendError> {
        let system = &self.inner.system;
        if is_pushed(record, system.model) {
            let material = PushMaterial::from_record(record, &system.shared);
            material.terms.map_err(|reason| AmendError::Invalid(reason.into()))?;
        } else if is_pull(record) {
            AgentMaterial::from_record(record, system.agent_tls, &system.shared).map_err(AmendError::Invalid)?;
        }
        Ok(())
    }
}
