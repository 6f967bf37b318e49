//! What is under way: messages, timers, running work; in the order of virtual time.

use crate::evidence::Quote;
use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::AttestationIndex;
use keylime_engine::lifecycle::{Ticket, Verdict};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that will happen.
#[derive(Debug, Clone)]
pub enum Event {
    /// The timer of an agent's one deadline.
    Timer { agent: usize },
    /// A quote request reaches an agent.
    QuoteRequested { agent: usize, ticket: Ticket, nonce: Vec<u8>, entry: u64 },
    /// Its answer reaches the verifier.
    QuoteArrived { agent: usize, ticket: Ticket, quote: Quote },
    /// The appraisal of an agent that is asked is done.
    Judged { agent: usize, ticket: Ticket, verdict: Box<Verdict>, policy: u64 },
    /// An agent that sends wants to attest.
    AgentWakes { agent: usize, round: u64 },
    /// Its request to open an attestation reaches the verifier.
    Opening { agent: usize },
    /// The answer to it reaches the agent.
    Opened { agent: usize, index: AttestationIndex, challenge: Vec<u8>, offset: u64 },
    /// Its evidence reaches the verifier.
    Sent { agent: usize, index: AttestationIndex, evidence: Value },
    /// The appraisal of an agent that sends is done; `None` when the verifier failed at it.
    PushJudged { agent: usize, ticket: Ticket, verdict: Option<Box<PushVerdict>>, policy: u64 },
    /// The operator enrols an agent that was deleted.
    Enrolment { agent: usize },
    /// The oldest transaction ends.
    Commit,
    /// The database answers again.
    DatabaseReturns,
}

impl Event {
    /// Whether it lives in the verifier's process, and dies with it.
    pub fn dies_with_verifier(&self) -> bool {
        match self {
            // The verifier's requests to agents end with its connections.
            Self::Timer { .. }
            | Self::QuoteRequested { .. }
            | Self::QuoteArrived { .. }
            | Self::Judged { .. }
            | Self::PushJudged { .. }
            | Self::Commit => true,
            Self::AgentWakes { .. }
            | Self::Opening { .. }
            | Self::Opened { .. }
            | Self::Sent { .. }
            | Self::Enrolment { .. }
            | Self::DatabaseReturns => false,
        }
    }
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest, because the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// The events to come.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Scheduled>,
    sequence: u64,
}

impl Agenda {
    pub fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Scheduled { at, sequence: self.sequence, event });
    }

    pub fn next(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }

    /// The actor of an agent ends: what it waited for reaches nobody.
    pub fn end(&mut self, ended: usize) {
        self.heap.retain(|scheduled| match &scheduled.event {
            Event::Timer { agent }
            | Event::QuoteRequested { agent, .. }
            | Event::QuoteArrived { agent, .. }
            | Event::Judged { agent, .. }
            | Event::PushJudged { agent, .. } => *agent != ended,
            Event::AgentWakes { .. }
            | Event::Opening { .. }
            | Event::Opened { .. }
            | Event::Sent { .. }
            | Event::Enrolment { .. }
            | Event::Commit
            | Event::DatabaseReturns => true,
        });
    }

    pub fn crash(&mut self) {
        self.heap.retain(|scheduled| !scheduled.event.dies_with_verifier());
    }
}
