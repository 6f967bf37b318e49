//! Orders a batch of writes into waves, so that each kind of write of a wave is one multi-row statement.

use crate::ports::VerifierWrite;
use std::collections::HashMap;

/// Writes, by position in their batch, that may be carried out kind by kind, in the order of the fields.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the kinds of VerifierWrite")]
pub(super) struct Wave {
    pub enrol: Vec<usize>,
    pub amend: Vec<usize>,
    pub receive: Vec<usize>,
    pub progress: Vec<usize>,
    pub discard: Vec<usize>,
    pub set_state: Vec<usize>,
    pub delete: Vec<usize>,
    pub delivered: Vec<usize>,
}

/// The kinds, in the order in which a wave carries them out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Enrol,
    Amend,
    Receive,
    Progress,
    Discard,
    SetState,
    Delete,
}

/// Splits a batch into as few waves as keep its meaning: writes to one agent keep their order, and nothing that
/// stores policies overtakes a deletion, which may free a policy's name. A delivery refers to a notice committed before, so it may come last.
pub(super) fn waves(batch: &[VerifierWrite]) -> Vec<Wave> {
    let mut done: Vec<Wave> = Vec::new();
    let mut wave = Wave::default();
    let mut latest: HashMap<&str, Kind> = HashMap::new();
    for (index, write) in batch.iter().enumerate() {
        let (agent, kind) = match write {
            VerifierWrite::Enrol { agent, .. } => (agent.agent_id.as_str(), Kind::Enrol),
            VerifierWrite::Amend { agent_id, .. } => (agent_id.as_str(), Kind::Amend),
            VerifierWrite::ReceiveEvidence { agent_id, .. } => (agent_id.as_str(), Kind::Receive),
            VerifierWrite::Progress { progress, .. } | VerifierWrite::Conclude { progress, .. } => {
                (progress.agent_id.as_str(), Kind::Progress)
            }
            VerifierWrite::DiscardAttestation { agent_id, .. } => (agent_id.as_str(), Kind::Discard),
            VerifierWrite::SetState { agent_id, .. } => (agent_id.as_str(), Kind::SetState),
            VerifierWrite::Delete { agent_id } => (agent_id.as_str(), Kind::Delete),
            VerifierWrite::OutboxDelivered { .. } => {
                wave.delivered.push(index);
                continue;
            }
        };
        let overtakes_own = latest.get(agent).is_some_and(|latest| *latest > kind);
        let overtakes_deletion = matches!(kind, Kind::Enrol | Kind::Amend) && !wave.delete.is_empty();
        if overtakes_own || overtakes_deletion {
            done.push(std::mem::take(&mut wave));
            latest.clear();
        }
        latest.insert(agent, kind);
        match kind {
            Kind::Enrol => wave.enrol.push(index),
            Kind::Amend => wave.amend.push(index),
            Kind::Receive => wave.receive.push(index),
            Kind::Progress => wave.progress.push(index),
            Kind::Discard => wave.discard.push(index),
            Kind::SetState => wave.set_state.push(index),
            Kind::Delete => wave.delete.push(index),
        }
    }
    if wave != Wave::default() {
        done.push(wave);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::ids::AgentId;
    use uuid::Uuid;

    fn set_state(agent: &str) -> VerifierWrite {
        VerifierWrite::SetState { agent_id: AgentId::parse(agent).unwrap(), state: Some(10) }
    }

    fn delete(agent: &str) -> VerifierWrite {
        VerifierWrite::Delete { agent_id: AgentId::parse(agent).unwrap() }
    }

    #[test]
    fn different_agents_share_a_wave() {
        let delivered = VerifierWrite::OutboxDelivered { id: Uuid::nil(), notifier: "amqp" };
        let batch = [delete("a"), set_state("b"), delivered, delete("b"), set_state("c")];
        let expected = Wave { set_state: vec![1, 4], delete: vec![0, 3], delivered: vec![2], ..Wave::default() };
        assert_eq!(waves(&batch), [expected]);
    }

    #[test]
    fn writes_to_one_agent_keep_their_order() {
        let waves = waves(&[set_state("a"), delete("a"), set_state("a"), delete("a")]);
        assert_eq!(waves.len(), 2);
        assert_eq!((waves[0].set_state.as_slice(), waves[0].delete.as_slice()), (&[0][..], &[1][..]));
        assert_eq!((waves[1].set_state.as_slice(), waves[1].delete.as_slice()), (&[2][..], &[3][..]));
    }

    #[test]
    fn an_empty_batch_has_no_wave() {
        assert_eq!(waves(&[]), []);
    }
}
