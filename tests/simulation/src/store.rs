//! The database: one queue of transactions, each of which is there entirely or not at all, and a memory of what it promised.

use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::lifecycle::{Facts, OperationalState, Presence, PushFacts};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The row of an agent.
#[derive(Debug, Clone)]
pub enum Row {
    Pull { state: OperationalState, facts: Box<Facts> },
    Push { facts: Box<PushFacts>, presence: Presence },
}

/// A revocation notice; its number is unique in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    pub number: u64,
    pub agent: usize,
}

/// What a transaction does to the row of its agent.
#[derive(Debug, Clone)]
pub enum RowChange {
    /// Nothing.
    None,
    /// Replaces it, if it is there.
    Put(Row),
    /// Makes it, if it is not there.
    Enrol(Row),
    /// Deletes it with everything that refers to it.
    Delete,
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Write {
    pub agent: usize,
    pub row: RowChange,
    pub attestation: Option<Arc<Attestation>>,
    pub prune: Vec<AttestationIndex>,
    pub notice: Option<Notice>,
    /// Whom to tell when it is there, or that it will never be.
    pub receipt: Receipt,
}

/// What follows a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Nothing.
    None,
    /// The receipt of evidence is stored; when the database is away it is refused at once.
    Evidence(keylime_engine::lifecycle::Ticket),
    /// The verdict on an attestation is stored.
    Verdict(AttestationIndex),
    /// The agent is enrolled.
    Enrolment,
    /// The agent is deleted.
    Deletion,
}

/// What is durable.
#[derive(Debug, Clone, Default)]
pub struct Store {
    pub rows: BTreeMap<usize, Row>,
    pub attestations: BTreeMap<(usize, AttestationIndex), Arc<Attestation>>,
    pub outbox: Vec<Notice>,
    pub queue: VecDeque<Write>,
    pub away: bool,
}

impl Store {
    /// Makes the oldest transaction durable and answers it.
    pub fn commit(&mut self) -> Option<Write> {
        if self.away {
            return None;
        }
        let mut write = self.queue.pop_front()?;
        if !self.applies(&write) {
            // The transaction finds no row, or one too many: nothing of it is stored, and nobody hears of it.
            write.attestation = None;
            write.notice = None;
            write.receipt = Receipt::None;
            return Some(write);
        }
        match &write.row {
            RowChange::None => {}
            RowChange::Put(row) | RowChange::Enrol(row) => drop(self.rows.insert(write.agent, row.clone())),
            RowChange::Delete => {
                self.rows.remove(&write.agent);
                self.attestations.retain(|(agent, _), _| *agent != write.agent);
            }
        }
        if let Some(attestation) = &write.attestation {
            self.attestations.insert((write.agent, attestation.index), Arc::clone(attestation));
        }
        for index in &write.prune {
            self.attestations.remove(&(write.agent, *index));
        }
        self.outbox.extend(write.notice);
        Some(write)
    }

    /// Whether a transaction finds its agent as it expects it.
    pub fn applies(&self, write: &Write) -> bool {
        self.rows.contains_key(&write.agent) != matches!(write.row, RowChange::Enrol(_))
    }

    /// What is not durable is gone.
    pub fn crash(&mut self) {
        self.queue.clear();
        self.away = false;
    }

    pub fn stored_attestations(&self, agent: usize) -> Vec<StoredAttestation> {
        self.of(agent)
            .map(|attestation| StoredAttestation {
                index: attestation.index,
                stage: attestation.stage,
                boot_time: attestation.boot_time,
                evidence_received: attestation.evidence_received,
            })
            .collect()
    }

    pub fn attestation(&self, agent: usize, index: AttestationIndex) -> Option<&Arc<Attestation>> {
        self.attestations.get(&(agent, index))
    }

    fn of(&self, agent: usize) -> impl Iterator<Item = &Arc<Attestation>> {
        let range = (agent, AttestationIndex(0))..=(agent, AttestationIndex(u32::MAX));
        self.attestations.range(range).map(|(_, attestation)| attestation)
    }
}
