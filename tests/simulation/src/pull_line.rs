//! An agent that is asked: its state machine, and how its effects become events.

use crate::evidence::{Quote, judge};
use crate::invariants::{Cause, Facet, Violation};
use crate::network::Event;
use crate::store::{Receipt, Row, RowChange, Write};
use crate::world::{Line, Mutation, World};
use keylime_engine::lifecycle::{
    Effect, Ending, Input, OperationalState, Phase, PullState, PullTerms, QuoteReply, Ticket, Verdict, transition,
};

pub(crate) fn facet(state: &PullState) -> Facet {
    let is_attesting = !matches!(state.phase, Phase::Ended(_));
    Facet {
        attestations: state.facts.attestation_count,
        failures: 0,
        is_failed: state.shown == OperationalState::InvalidQuote,
        next_entry: state.facts.ima.next_entry,
        is_attesting,
    }
}

impl World {
    pub(crate) fn pull_step(
        &mut self,
        agent: usize,
        input: Input,
        cause: Cause,
        reply: Option<Quote>,
    ) -> Result<(), Violation> {
        self.count_input();
        let Line::Pull(state) = &self.agents[agent].line else { return Ok(()) };
        let state = PullState::clone(state);
        let before = facet(&state);
        let (now, entropy) = (self.now(), self.entropy());
        let terms = PullTerms { settings: &self.pull_settings, has_share: false };
        let (state, effects) = transition(state, input, terms, now, &entropy);
        let after = facet(&state);
        self.agents[agent].line = Line::Pull(Box::new(state));
        for effect in effects {
            self.pull_effect(agent, effect, reply.as_ref())?;
        }
        let has_deadline = self.agents[agent].deadline.is_some();
        self.ledger.stepped(agent, before, after, cause, has_deadline)
    }

    fn pull_effect(&mut self, agent: usize, effect: Effect, reply: Option<&Quote>) -> Result<(), Violation> {
        match effect {
            Effect::RequestEvidence { ticket, nonce, ima_entry, .. } => {
                let nonce = nonce.as_str().as_bytes().to_vec();
                self.ledger.challenged(agent, &nonce)?;
                self.send(Event::QuoteRequested { agent, ticket, nonce, entry: ima_entry });
            }
            Effect::Appraise { ticket, nonce } => {
                if let Some(quote) = reply {
                    self.appraise_pulled(agent, ticket, quote, nonce.as_str().as_bytes())?;
                }
            }
            Effect::Persist { notice, .. } => {
                let row = self.pull_row(agent);
                let notice = notice.map(|_| self.new_notice(agent));
                self.write_verdict(Write {
                    agent,
                    row,
                    attestation: None,
                    prune: Vec::new(),
                    notice,
                    receipt: Receipt::None,
                })?;
            }
            Effect::DeleteRow => self.delete_row(agent),
            Effect::StoreState(_) => {
                let row = self.pull_row(agent);
                self.write(Write {
                    agent,
                    row,
                    attestation: None,
                    prune: Vec::new(),
                    notice: None,
                    receipt: Receipt::None,
                });
            }
            Effect::SetDeadline { at, .. } => self.set_deadline(agent, at.0),
            Effect::StopAttesting => self.agents[agent].deadline = None,
            Effect::RequestVersion { .. } | Effect::DeliverShare { .. } | Effect::DropStale => {}
        }
        Ok(())
    }

    fn appraise_pulled(&mut self, agent: usize, ticket: Ticket, quote: &Quote, nonce: &[u8]) -> Result<(), Violation> {
        let Line::Pull(state) = &self.agents[agent].line else { return Ok(()) };
        let verdict = judge(quote, nonce, &state.facts.ima, &state.facts.clock);
        if matches!(verdict, Verdict::Passed { .. }) {
            self.ledger.answered(agent, nonce)?;
        }
        let policy = self.agents[agent].policy;
        let delay = 1 + self.random.below(20);
        self.after(delay, Event::Judged { agent, ticket, verdict: Box::new(verdict), policy });
        Ok(())
    }

    fn pull_row(&self, agent: usize) -> RowChange {
        match &self.agents[agent].line {
            Line::Pull(state) => RowChange::Put(Row::Pull { state: state.shown, facts: Box::new(state.facts.clone()) }),
            Line::Push(_) => RowChange::None,
        }
    }

    /// A quote request reaches the machine, which answers, honestly or not.
    pub(crate) fn quote_requested(&mut self, agent: usize, ticket: Ticket, nonce: Vec<u8>, entry: u64) {
        if self.random.one_in(25) {
            return;
        }
        let is_hostile = self.random.one_in(30);
        let replays = self.random.one_in(2);
        let machine = &mut self.agents[agent].machine;
        let from = if entry <= machine.entries { entry } else { 0 };
        let mut quote = Quote {
            nonce,
            clock: machine.tick(),
            boot: machine.boot,
            entries: (from, machine.entries),
            evil: machine.evil.is_some_and(|evil| evil >= from),
        };
        if is_hostile && replays {
            quote.nonce = b"an answer to another challenge".to_vec();
        } else if is_hostile {
            quote.clock = machine.stale_clock();
        }
        self.send(Event::QuoteArrived { agent, ticket, quote });
    }

    pub(crate) fn quote_arrived(&mut self, agent: usize, ticket: Ticket, quote: Quote) -> Result<(), Violation> {
        self.pull_step(agent, Input::QuoteReplied(ticket, QuoteReply::Evidence), Cause::Other, Some(quote))
    }

    pub(crate) fn judged(
        &mut self,
        agent: usize,
        ticket: Ticket,
        verdict: Box<Verdict>,
        policy: u64,
    ) -> Result<(), Violation> {
        let cause = match &*verdict {
            Verdict::Passed { clock, .. } => Cause::Pass { policy, in_force: self.agents[agent].policy, clock: *clock },
            Verdict::Failed { .. } | Verdict::Unreadable(_) => Cause::Fail,
            Verdict::BoottimeChanged { .. } => Cause::Other,
        };
        self.pull_step(agent, Input::Appraised(ticket, verdict), cause, None)
    }

    /// Operators reactivate an agent whose attestation has ended, sooner or later.
    pub(crate) fn has_ended(&self, agent: usize) -> bool {
        match &self.agents[agent].line {
            Line::Pull(state) => {
                matches!(
                    state.phase,
                    Phase::Ended(Ending::Failed | Ending::InvalidQuote | Ending::Stopped | Ending::Saved)
                )
            }
            Line::Push(_) => false,
        }
    }

    /// Stores a verdict, and does with its notice what the mutation says.
    pub(crate) fn write_verdict(&mut self, mut write: Write) -> Result<(), Violation> {
        match (self.mutation, write.notice) {
            (Mutation::DroppedOutboxRow, Some(_)) => write.notice = None,
            (Mutation::VerdictBeforeCommit, Some(notice)) => self.ledger.published(&self.store, notice)?,
            (
                Mutation::None | Mutation::ConstantNonce | Mutation::DroppedOutboxRow | Mutation::VerdictBeforeCommit,
                _,
            ) => {}
        }
        self.write(write);
        Ok(())
    }
}
