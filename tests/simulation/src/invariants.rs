//! The invariants of the architecture, checked after every step from outside the state machines.

use crate::store::{Notice, Row, RowChange, Store, Write};
use keylime_engine::evidence::attestation::{AttestationIndex, Evaluation, Stage};
use keylime_engine::lifecycle::OperationalState;
use keylime_engine::tpm::clock_info::ClockInfo;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number, 1 to 7.
    pub invariant: u8,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "INV-{}: {}", self.invariant, self.what)
    }
}

/// The part of an agent's state that the invariants are about, whichever way it is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facet {
    pub attestations: u64,
    pub failures: u32,
    pub is_failed: bool,
    pub next_entry: u64,
    /// Whether there has to be a deadline.
    pub is_attesting: bool,
}

/// What a step was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A verdict, with the policy it was made by and the one in force.
    Pass { policy: u64, in_force: u64, clock: ClockInfo },
    /// A verdict that is no pass.
    Fail,
    /// Anything else.
    Other,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Agent and life that each was made for.
    challenges: HashMap<Vec<u8>, (usize, u32)>,
    accepted: HashSet<Vec<u8>>,
    clocks: BTreeMap<usize, ClockInfo>,
    /// How often each agent was enrolled anew.
    lives: BTreeMap<usize, u32>,
}

fn violated(invariant: u8, what: impl Into<String>) -> Result<(), Violation> {
    Err(Violation { invariant, what: what.into() })
}

impl Ledger {
    /// INV-1: a challenge is made once.
    pub fn challenged(&mut self, agent: usize, nonce: &[u8]) -> Result<(), Violation> {
        let life = self.life(agent);
        match self.challenges.insert(nonce.to_vec(), (agent, life)) {
            None => Ok(()),
            Some(_) => violated(1, "a challenge was made twice"),
        }
    }

    /// INV-1: a challenge is answered once. INV-2: by the agent it was made for, as it is enrolled now.
    pub fn answered(&mut self, agent: usize, nonce: &[u8]) -> Result<(), Violation> {
        if self.challenges.get(nonce) != Some(&(agent, self.life(agent))) {
            return violated(2, format!("agent {agent}: a pass answers a challenge that is not of its enrolment"));
        }
        if self.accepted.insert(nonce.to_vec()) { Ok(()) } else { violated(1, "a challenge was answered twice") }
    }

    /// An agent is enrolled anew: nothing is known of it any more.
    pub fn enrolled(&mut self, agent: usize) {
        *self.lives.entry(agent).or_default() += 1;
        self.clocks.remove(&agent);
    }

    /// How many agents were enrolled anew.
    pub fn enrolments(&self) -> u64 {
        self.lives.values().copied().map(u64::from).sum()
    }

    fn life(&self, agent: usize) -> u32 {
        self.lives.get(&agent).copied().unwrap_or_default()
    }

    /// What was not durable before a crash never happened, the clock of an uncommitted pass included.
    pub fn rolled_back(&mut self, agent: usize, row: &Row) {
        let clock = match row {
            Row::Pull { facts, .. } => facts.clock,
            Row::Push { facts, .. } => facts.clock,
        };
        self.clocks.insert(agent, clock);
    }

    /// INV-2, 3, 5, 6 and 7 over one step of an agent.
    pub fn stepped(
        &mut self,
        agent: usize,
        before: Facet,
        after: Facet,
        cause: Cause,
        has_deadline: bool,
    ) -> Result<(), Violation> {
        let is_pass = matches!(cause, Cause::Pass { .. });
        if after.next_entry > before.next_entry && !is_pass {
            return violated(3, format!("agent {agent}: the measurement list moved without a pass"));
        }
        if after.is_attesting != has_deadline {
            return violated(5, format!("agent {agent}: attesting {}, deadline {has_deadline}", after.is_attesting));
        }
        if after.attestations > before.attestations && !is_pass {
            return violated(6, format!("agent {agent}: passed without a verdict"));
        }
        let fails = after.failures > before.failures || (after.is_failed && !before.is_failed);
        if fails && cause != Cause::Fail {
            return violated(6, format!("agent {agent}: failed without a verdict"));
        }
        if let (Cause::Pass { policy, in_force, clock }, true) = (cause, after.attestations > before.attestations) {
            if policy != in_force {
                return violated(2, format!("agent {agent}: passed by policy {policy}, {in_force} is in force"));
            }
            let last = self.clocks.insert(agent, clock).unwrap_or_default();
            if clock.may_follow(&last).is_err() {
                return violated(7, format!("agent {agent}: clock {clock:?} passed after {last:?}"));
            }
        }
        Ok(())
    }

    /// INV-4: exactly one notice becomes durable with each transition to failed. To be called before the transaction.
    pub fn commits(&self, store: &Store, write: &Write) -> Result<(), Violation> {
        let (RowChange::Put(new), Some(old)) = (&write.row, store.rows.get(&write.agent)) else { return Ok(()) };
        let is_new = has_failed(new) && !has_failed(old);
        if is_new && write.notice.is_none() {
            return violated(4, format!("agent {}: failed, and no notice is stored with it", write.agent));
        }
        if write.notice.is_some() && !may_announce(new) {
            return violated(4, format!("agent {}: a notice without a failure", write.agent));
        }
        Ok(())
    }

    /// INV-4: what is told to others is durable, and told of once.
    pub fn published(&self, store: &Store, notice: Notice) -> Result<(), Violation> {
        match store.outbox.iter().filter(|stored| **stored == notice).count() {
            1 => Ok(()),
            0 => violated(4, format!("agent {}: a notice left before it was stored", notice.agent)),
            _ => violated(4, format!("agent {}: a notice is stored twice", notice.agent)),
        }
    }

    /// INV-2: a token lives on only after a stored pass.
    pub fn extended(&self, store: &Store, agent: usize, index: AttestationIndex) -> Result<(), Violation> {
        let stage = store.attestation(agent, index).map(|attestation| attestation.stage);
        if stage == Some(Stage::Complete(Evaluation::Pass)) {
            return Ok(());
        }
        violated(2, format!("agent {agent}: its token was prolonged before its pass {index} was stored"))
    }

    /// INV-3: evidence is acknowledged only after its receipt was stored.
    pub fn acknowledged(&self, store: &Store, agent: usize, index: AttestationIndex) -> Result<(), Violation> {
        if store.attestation(agent, index).is_some() {
            return Ok(());
        }
        violated(3, format!("agent {agent}: evidence {index} was acknowledged before it was stored"))
    }
}

/// A failure, or the end of attestation for want of an answer.
fn may_announce(row: &Row) -> bool {
    has_failed(row) || matches!(row, Row::Pull { state: OperationalState::Failed, .. })
}

fn has_failed(row: &Row) -> bool {
    match row {
        Row::Pull { state, .. } => *state == OperationalState::InvalidQuote,
        Row::Push { facts, .. } => facts.consecutive_failures > 0,
    }
}
