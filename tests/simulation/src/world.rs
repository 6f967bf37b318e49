//! One run: eight agents, virtual time, one fault.

use crate::evidence::subject_data;
use crate::invariants::{Cause, Ledger, Violation};
use crate::machine::Machine;
use crate::network::{Agenda, Event};
use crate::random::Random;
use crate::store::{Notice, Receipt, Row, RowChange, Store, Write};
use keylime_engine::evidence::attestation::{AttestationIndex, Evaluation, Stage};
use keylime_engine::evidence::capabilities::Capabilities;
use keylime_engine::evidence::negotiation::NegotiationTerms;
use keylime_engine::evidence::offer::{BootTime, Offer};
use keylime_engine::evidence::requirements::{Demand, Requirements};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::lifecycle::push_restore::{RestoredPush, restore_push};
use keylime_engine::lifecycle::push_transition::{FailureRecovery, TokenExtension};
use keylime_engine::lifecycle::restore::{Restored, restore};
use keylime_engine::lifecycle::{
    ApiVersion, Ending, Entropy, Facts, Growth, Input, OperationalState, Phase, Presence, PullSettings, PullState,
    PushFacts, PushInput, PushSettings, PushState, RetryBackoff, TimeoutRecovery, Trail,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::verdict::SeverityPolicy;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// What the model around the state machines does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    None,
    /// Its random numbers are none.
    ConstantNonce,
    /// It stores a failure without its notice.
    DroppedOutboxRow,
    /// It tells others of a verdict before the verdict is stored.
    VerdictBeforeCommit,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Summary {
    pub inputs: usize,
    pub passes: u64,
    pub notices: usize,
    pub enrolled_anew: u64,
    pub virtual_seconds: u64,
}

const AGENTS: usize = 8;
const INPUTS: usize = 200;
const START: u64 = 1_700_000_000_000;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Drop,
    Delay,
    Duplicate,
    Crash,
    Outage,
    ClockJump,
}

const FAULTS: [Fault; 6] = [Fault::Drop, Fault::Delay, Fault::Duplicate, Fault::Crash, Fault::Outage, Fault::ClockJump];

pub(crate) enum Line {
    Pull(Box<PullState>),
    Push(Box<PushState>),
}

pub(crate) struct Agent {
    pub(crate) line: Line,
    pub(crate) machine: Machine,
    pub(crate) deadline: Option<u64>,
    /// Number of the policy in force.
    pub(crate) policy: u64,
    pub(crate) round: u64,
    pub(crate) last_evidence: Option<Value>,
    pub(crate) concluded: Option<AttestationIndex>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) agents: Vec<Agent>,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) mutation: Mutation,
    pub(crate) pull_settings: Arc<PullSettings>,
    pub(crate) push_settings: Arc<PushSettings>,
    pub(crate) enrolment: Arc<Enrolment>,
    pub(crate) subject_data: Arc<str>,
    agenda: Agenda,
    at: u64,
    wall_offset: i64,
    inputs: usize,
    notices: u64,
    fault_at: usize,
    fault: Fault,
    /// What becomes of the next message.
    fate: Option<Fault>,
    last_commit: u64,
}

/// Runs one seed to its end, or to the first invariant that does not hold.
///
/// # Errors
/// See [`Violation`].
pub fn run(seed: u64, mutation: Mutation) -> Result<Summary, Violation> {
    let mut world = World::new(seed, mutation);
    world.start();
    while world.inputs < INPUTS {
        let Some((at, event)) = world.agenda.next() else { break };
        world.at = world.at.max(at);
        world.handle(event)?;
        world.disturb()?;
    }
    Ok(world.summary())
}

impl World {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut random = Random::new(seed);
        let (fault_at, fault) = (usize::try_from(20 + random.below(150)).unwrap_or(20), random.below(6));
        let shared = &*SHARED;
        let is_tolerant = random.one_in(2);
        let agents = (0..AGENTS)
            .map(|number| Agent {
                line: new_line(number, START),
                machine: Machine::new(number),
                deadline: None,
                policy: 1,
                round: 0,
                last_evidence: None,
                concluded: None,
            })
            .collect();
        Self {
            random,
            agents,
            store: Store::default(),
            ledger: Ledger::default(),
            mutation,
            pull_settings: Arc::clone(if is_tolerant { &shared.tolerant } else { &shared.strict }),
            push_settings: Arc::clone(&shared.push),
            enrolment: Arc::clone(&shared.enrolment),
            subject_data: Arc::clone(&shared.subject_data),
            agenda: Agenda::default(),
            at: START,
            wall_offset: 0,
            inputs: 0,
            notices: 0,
            fault_at,
            fault: FAULTS[usize::try_from(fault).unwrap_or(0)],
            fate: None,
            last_commit: START,
        }
    }

    fn start(&mut self) {
        for agent in 0..AGENTS {
            self.store.rows.insert(agent, first_row(&self.agents[agent].line));
            let delay = self.random.below(2000);
            match self.agents[agent].line {
                Line::Pull(_) => self.set_deadline(agent, START),
                Line::Push(_) => self.wake(agent, delay),
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Timer { agent } => self.timer(agent),
            Event::QuoteRequested { agent, ticket, nonce, entry } => {
                self.quote_requested(agent, ticket, nonce, entry);
                Ok(())
            }
            Event::QuoteArrived { agent, ticket, quote } => self.quote_arrived(agent, ticket, quote),
            Event::Judged { agent, ticket, verdict, policy } => self.judged(agent, ticket, verdict, policy),
            Event::AgentWakes { agent, round } => {
                self.agent_wakes(agent, round);
                Ok(())
            }
            Event::Opening { agent } => self.opening(agent),
            Event::Opened { agent, index, challenge, offset } => {
                self.opened(agent, index, &challenge, offset);
                Ok(())
            }
            Event::Sent { agent, index, evidence } => self.sent(agent, index, &evidence),
            Event::PushJudged { agent, ticket, verdict, policy } => self.push_judged(agent, ticket, verdict, policy),
            Event::Enrolment { agent } => {
                self.enrol(agent);
                Ok(())
            }
            Event::Commit => self.commit(),
            Event::DatabaseReturns => {
                self.store.away = false;
                for _ in 0..self.store.queue.len() {
                    self.after(1, Event::Commit);
                }
                Ok(())
            }
        }
    }

    fn timer(&mut self, agent: usize) -> Result<(), Violation> {
        if self.agents[agent].deadline.is_none_or(|at| at > self.at) {
            return Ok(());
        }
        match self.agents[agent].line {
            Line::Pull(_) if self.store.away => {
                self.pull_step(agent, Input::Deferred(Duration::from_secs(1)), Cause::Other, None)
            }
            Line::Pull(_) => self.pull_step(agent, Input::DeadlineReached, Cause::Other, None),
            Line::Push(_) => self.push_step(agent, PushInput::DeadlineReached, Cause::Other),
        }
    }

    fn commit(&mut self) -> Result<(), Violation> {
        if let (Some(next), false) = (self.store.queue.front(), self.store.away)
            && self.store.applies(next)
        {
            self.ledger.commits(&self.store, next)?;
        }
        let Some(write) = self.store.commit() else { return Ok(()) };
        if let Some(attestation) = &write.attestation
            && attestation.stage == Stage::Complete(Evaluation::Pass)
            && let Some(parameters) = attestation.quote_parameters()
        {
            self.ledger.answered(write.agent, parameters.challenge.as_bytes())?;
        }
        if let Some(notice) = write.notice {
            self.ledger.published(&self.store, notice)?;
        }
        match write.receipt {
            Receipt::None => Ok(()),
            Receipt::Evidence(ticket) => self.push_step(write.agent, PushInput::Stored(ticket), Cause::Other),
            Receipt::Verdict(index) => {
                self.agents[write.agent].concluded = Some(index);
                self.push_step(write.agent, PushInput::Concluded(index), Cause::Other)
            }
            Receipt::Enrolment => {
                self.begin(write.agent);
                Ok(())
            }
            Receipt::Deletion => {
                self.agenda.end(write.agent);
                let delay = 1 + self.random.below(5000);
                self.after(delay, Event::Enrolment { agent: write.agent });
                Ok(())
            }
        }
    }

    /// What goes on in the world besides: programs, reboots, operators, and the one fault.
    fn disturb(&mut self) -> Result<(), Violation> {
        if self.inputs >= self.fault_at && self.fault_at > 0 {
            self.fault_at = 0;
            self.strike()?;
        }
        let agent = usize::try_from(self.random.below(AGENTS as u64)).unwrap_or(0);
        match self.random.below(160) {
            0..=15 => {
                let (programs, is_bad) = (self.random.below(4), self.random.one_in(6));
                self.agents[agent].machine.work(programs, is_bad);
            }
            16..=18 => self.agents[agent].machine.reboot(),
            19 | 20 => self.change_policy(agent)?,
            21 | 22 if self.has_ended(agent) => {
                self.pull_step(agent, Input::ReactivateRequested, Cause::Other, None)?;
            }
            23 => self.command(agent)?,
            _ => {}
        }
        Ok(())
    }

    fn change_policy(&mut self, agent: usize) -> Result<(), Violation> {
        self.agents[agent].policy += 1;
        match self.agents[agent].line {
            Line::Pull(_) => self.pull_step(agent, Input::PolicyChanged, Cause::Other, None),
            Line::Push(_) => self.push_step(agent, PushInput::PolicyChanged, Cause::Other),
        }
    }

    fn command(&mut self, agent: usize) -> Result<(), Violation> {
        match (&self.agents[agent].line, self.random.below(3)) {
            (Line::Pull(_), 0) => self.pull_step(agent, Input::StopRequested, Cause::Other, None),
            (Line::Pull(_), 1) => self.pull_step(agent, Input::ReactivateRequested, Cause::Other, None),
            (Line::Pull(_), _) => self.pull_step(agent, Input::DeleteRequested, Cause::Other, None),
            (Line::Push(_), 0) => self.push_step(agent, PushInput::StopRequested, Cause::Other),
            (Line::Push(_), 1) => self.push_step(agent, PushInput::ReactivateRequested, Cause::Other),
            (Line::Push(_), _) => self.push_step(agent, PushInput::DeleteRequested, Cause::Other),
        }
    }

    pub(crate) fn delete_row(&mut self, agent: usize) {
        let (row, receipt) = (RowChange::Delete, Receipt::Deletion);
        self.write(Write { agent, row, attestation: None, prune: Vec::new(), notice: None, receipt });
    }

    /// The operator enrols a deleted agent anew; while the database is away, or the agent is there, that is refused.
    fn enrol(&mut self, agent: usize) {
        if self.store.away {
            return self.after(1000, Event::Enrolment { agent });
        }
        let (row, receipt) = (RowChange::Enrol(first_row(&new_line(agent, self.at))), Receipt::Enrolment);
        self.write(Write { agent, row, attestation: None, prune: Vec::new(), notice: None, receipt });
    }

    /// A new actor begins; the machine and what it has sent are the old ones.
    fn begin(&mut self, agent: usize) {
        self.agenda.end(agent);
        self.ledger.enrolled(agent);
        self.agents[agent].line = new_line(agent, self.at);
        self.agents[agent].deadline = None;
        self.agents[agent].concluded = None;
        match self.agents[agent].line {
            Line::Pull(_) => self.set_deadline(agent, self.at),
            Line::Push(_) => {}
        }
    }

    fn strike(&mut self) -> Result<(), Violation> {
        match self.fault {
            Fault::Drop | Fault::Delay | Fault::Duplicate => self.fate = Some(self.fault),
            Fault::Crash => return self.crash(),
            Fault::Outage => {
                self.store.away = true;
                let length = 1000 + self.random.below(20_000);
                self.after(length, Event::DatabaseReturns);
            }
            Fault::ClockJump => {
                let jump = i64::try_from(self.random.below(2_000_000)).unwrap_or(0) - 1_000_000;
                self.wall_offset += jump;
            }
        }
        Ok(())
    }

    /// The verifier dies and starts again on what is durable.
    fn crash(&mut self) -> Result<(), Violation> {
        self.agenda.crash();
        self.store.crash();
        self.at += 500 + self.random.below(30_000);
        self.last_commit = self.at;
        let now = self.now();
        for agent in 0..AGENTS {
            self.agents[agent].deadline = None;
            let Some(row) = self.store.rows.get(&agent).cloned() else {
                // The operator tries again what was not answered.
                self.after(3000, Event::Enrolment { agent });
                continue;
            };
            self.ledger.rolled_back(agent, &row);
            match row {
                Row::Pull { state, facts } => {
                    let code = Some(i32::from(state.code()));
                    let due = now.at.after(Duration::from_millis(self.random.below(2000)));
                    match restore(code, *facts, &self.pull_settings.severity, due) {
                        Restored::State(state) => {
                            let is_attesting = crate::pull_line::facet(&state).is_attesting;
                            self.agents[agent].line = Line::Pull(state);
                            if is_attesting {
                                self.set_deadline(agent, due.0);
                            }
                        }
                        Restored::FinishDeletion => {
                            self.agents[agent].line = deleted_pull(agent, self.at);
                            self.delete_row(agent);
                        }
                    }
                }
                Row::Push { facts, presence } => self.take_up(agent, *facts, presence, now)?,
            }
        }
        Ok(())
    }

    fn take_up(&mut self, agent: usize, facts: PushFacts, presence: Presence, now: Now) -> Result<(), Violation> {
        let stored = self.store.stored_attestations(agent);
        let code = Some(i32::from(OperationalState::GetQuote.code()));
        let RestoredPush::State(state, pending) =
            restore_push(code, facts, presence, &stored, &self.push_settings, now)
        else {
            return Ok(());
        };
        let timeout = state.timeout;
        self.agents[agent].line = Line::Push(state);
        if let Some(timeout) = timeout {
            self.set_deadline(agent, timeout.0);
        }
        match pending.and_then(|index| self.store.attestation(agent, index).cloned()) {
            Some(attestation) => self.push_step(agent, PushInput::Resumed(attestation), Cause::Other),
            None => Ok(()),
        }
    }

    /// Sends a message; the fault may change what becomes of it.
    pub(crate) fn send(&mut self, event: Event) {
        let delay = 2 + self.random.below(60);
        match self.fate.take() {
            Some(Fault::Drop) => {}
            Some(Fault::Delay) => self.after(delay + 15_000, event),
            Some(Fault::Duplicate) => {
                self.after(delay, event.clone());
                let later = delay + self.random.below(3000);
                self.after(later, event);
            }
            Some(Fault::Crash | Fault::Outage | Fault::ClockJump) | None => self.after(delay, event),
        }
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.agenda.at(self.at + delay, event);
    }

    pub(crate) fn set_deadline(&mut self, agent: usize, at: u64) {
        self.agents[agent].deadline = Some(at);
        self.agenda.at(at, Event::Timer { agent });
    }

    /// Queues a transaction; they end in their order.
    pub(crate) fn write(&mut self, write: Write) {
        self.store.queue.push_back(write);
        if !self.store.away {
            self.last_commit = self.last_commit.max(self.at) + 1 + self.random.below(15);
            self.agenda.at(self.last_commit, Event::Commit);
        }
    }

    pub(crate) fn new_notice(&mut self, agent: usize) -> Notice {
        self.notices += 1;
        Notice { number: self.notices, agent }
    }

    pub(crate) fn now(&self) -> Now {
        let seconds = i64::try_from(self.at / 1000).unwrap_or(0);
        Now { at: Timestamp(self.at), wall_seconds: seconds + self.wall_offset }
    }

    pub(crate) fn entropy(&mut self) -> Entropy {
        match self.mutation {
            Mutation::ConstantNonce => Entropy([7; Entropy::LEN]),
            Mutation::None | Mutation::DroppedOutboxRow | Mutation::VerdictBeforeCommit => Entropy(self.random.bytes()),
        }
    }

    pub(crate) fn count_input(&mut self) {
        self.inputs += 1;
    }

    fn summary(&self) -> Summary {
        let passes = self.agents.iter().map(|agent| match &agent.line {
            Line::Pull(state) => state.facts.attestation_count,
            Line::Push(state) => state.facts.attestation_count,
        });
        Summary {
            inputs: self.inputs,
            passes: passes.sum(),
            notices: self.store.outbox.len(),
            enrolled_anew: self.ledger.enrolments(),
            virtual_seconds: (self.at - START) / 1000,
        }
    }
}

/// The state of an agent that is enrolled now: every other one is asked, the others send.
fn new_line(number: usize, at: u64) -> Line {
    if number.is_multiple_of(2) {
        Line::Pull(Box::new(new_pull(number, at)))
    } else {
        Line::Push(Box::new(PushState::taken_up(PushFacts::default(), Trail::default(), Presence::Heard)))
    }
}

fn new_pull(number: usize, at: u64) -> PullState {
    let facts = Facts::unattested(ApiVersion { major: 2, minor: u8::try_from(number % 6).unwrap_or(0) });
    PullState::starting(facts, Timestamp(at))
}

/// The state of an agent whose deletion is finished after a restart: it has no actor.
fn deleted_pull(number: usize, at: u64) -> Line {
    Line::Pull(Box::new(PullState { phase: Phase::Ended(Ending::Deleted), ..new_pull(number, at) }))
}

/// The row of an agent that is enrolled with this state.
fn first_row(line: &Line) -> Row {
    match line {
        Line::Pull(state) => Row::Pull { state: state.shown, facts: Box::new(state.facts.clone()) },
        Line::Push(state) => Row::Push { facts: Box::new(state.facts.clone()), presence: state.presence },
    }
}

/// What every run has in common.
struct Shared {
    strict: Arc<PullSettings>,
    tolerant: Arc<PullSettings>,
    push: Arc<PushSettings>,
    enrolment: Arc<Enrolment>,
    subject_data: Arc<str>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let labels = || ["low", "high"].map(String::from).to_vec();
    let rules = [("pcr_validation.*".to_owned(), "low".to_owned()), (".*".to_owned(), "high".to_owned())];
    let tolerant = SeverityPolicy::new(labels(), &rules).unwrap_or_default();
    let backoff = RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential };
    let pull = |severity| {
        Arc::new(PullSettings {
            quote_interval: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            backoff,
            max_retries: 2,
            severity,
        })
    };
    Shared {
        strict: pull(SeverityPolicy::default()),
        tolerant: pull(tolerant),
        push: Arc::new(PushSettings {
            quote_interval: Duration::from_secs(2),
            challenge_lifetime: Duration::from_secs(20),
            verification_timeout: Duration::ZERO,
            failure_recovery: FailureRecovery::Automatic,
            timeout_recovery: TimeoutRecovery::Automatic,
            token_extension: TokenExtension::OnPass,
            backoff,
            severity: SeverityPolicy::default(),
        }),
        enrolment: Arc::new(Enrolment::new()),
        subject_data: subject_data().into(),
    }
});

/// What the agents that send are enrolled with.
pub(crate) struct Enrolment {
    key: Option<AttestationKey>,
    hash: Vec<String>,
    sign: Vec<String>,
}

impl Enrolment {
    fn new() -> Self {
        Self {
            key: AttestationKey::from_base64(AK).ok(),
            hash: vec!["sha256".to_owned()],
            sign: vec!["rsassa".to_owned()],
        }
    }

    /// Terms that call for PCR 10 and the measurement list.
    ///
    /// # Panics
    /// Never: the key is a constant.
    pub(crate) fn terms(&self) -> NegotiationTerms<'_> {
        let Some(attestation_key) = &self.key else { unreachable!("the key is a constant") };
        let requirements = Requirements { pcrs: PcrMask::of([10]), uefi: Demand::NotWanted, ima: Demand::Wanted };
        NegotiationTerms { requirements, accepted_hash: &self.hash, accepted_sign: &self.sign, attestation_key }
    }
}

/// The offer of a machine that booted at this second and has a list of this length.
pub(crate) fn offer(boot: i64, entries: u64) -> Offer {
    let mut offer = OFFER.clone();
    offer.boot_time = BootTime::At(boot * 1_000_000);
    if let Some(Capabilities::Log(log)) = offer.items.last_mut().map(|item| &mut item.capabilities) {
        log.entry_count = Some(entries);
    }
    offer
}

static OFFER: LazyLock<Offer> = LazyLock::new(|| {
    let offered = json!([
        {"evidence_class": "certification", "evidence_type": "tpm_quote", "capabilities": {
            "component_version": "2.0", "hash_algorithms": ["sha256"], "signature_schemes": ["rsassa"],
            "available_subjects": {"sha256": [10]},
            "certification_keys": [{"key_class": "asymmetric", "key_algorithm": "rsa", "key_size": 2048,
                "server_identifier": "ak"}]}},
        {"evidence_class": "log", "evidence_type": "ima_log", "capabilities": {
            "entry_count": 1, "supports_partial_access": true, "formats": ["text/plain"]}}
    ]);
    Offer::read(Some(&offered), BootTime::Absent).unwrap_or(Offer { items: Vec::new(), boot_time: BootTime::Absent })
});

/// An AK of 2048 bits, from a recorded flow.
const AK: &str = "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQCVuPOnhlo6wwsv5v0HnFreHnD5mKjosBWwZ1ETtE0o3ODHGEghI1mpdb3rJUFPmBZwEnh+HzZobfopZSBUlNxmlEIaH6BRuXeXAc53XEhvMFypZg9MxC4tpgvcosFLjzsrTf5yNQTLmK7PN5N2dujwXKRA7x66TkDoz+KSkGYJntaUPQmBAH129A40gDBWzrURs1ByvOm9BetZZMMsZQt9Ih/LiUh0mQDd7l0iA+5EQI4yewptRaK8i2RgepKktlUmUgluyMFZIy/PJCsoX3OoIXVYQuG01GJJpDUQqcNDKsDvF0RmTi/Hvx0a0BqsRaWqG61HB9mrYeOgb6hVRoc9";
