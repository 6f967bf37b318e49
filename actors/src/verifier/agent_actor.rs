//! One enrolled agent: translates what happens into inputs of the state machine. It decides nothing.

use crate::ports::{AgentRecord, AgentReply, StoreError, WriteOutcome};
use crate::runtime::deadline_slot::{DeadlineSlot, Fired};
use crate::runtime::exit_guard::ExitGuard;
use crate::verifier::agent_material::AgentMaterial;
use crate::verifier::failure_log::write_log_lines;
use crate::verifier::last_verdict::LastVerdict;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::shard_context::ShardContext;
use crate::verifier::status::AgentSnapshot;
use crate::verifier::turns::{Turn, asks};
use actix::{Actor, ActorContext, Context, Handler, Message, ResponseFuture};
use bytes::Bytes;
use keylime_engine::evidence::{classify_quote_reply, classify_share_reply, classify_version_reply};
use keylime_engine::lifecycle::deadline::DeadlineReason;
use keylime_engine::lifecycle::{
    Effects, Ending, Input, OperationalState, Phase, PullState, QuoteReply, ShareReply, Ticket, Verdict, VersionReply,
    transition,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::verdict::Failures;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// The actor of one enrolled pull agent.
pub struct AgentActor {
    pub(super) guard: ExitGuard,
    pub(super) shard: Rc<ShardContext>,
    pub(super) material: Arc<AgentMaterial>,
    /// Absent only while a transition runs.
    pub(super) state: Option<Box<PullState>>,
    pub(super) deadline: DeadlineSlot,
    pub(super) turn: Turn,
    /// The policies, until one of them is replaced.
    pub(super) policies: Option<Arc<AgentPolicies>>,
    /// Since when a change that may wait has not been handed to the writer.
    pub(super) lazy_since: Option<Timestamp>,
    pub(super) failure_details: Option<Box<[String]>>,
    /// The failures of the last attestation, for people; none for agents in good state.
    pub(super) last_verdict: LastVerdict,
    /// Why the enrolment cannot be attested with, until the lifecycle has been told.
    unusable: Option<Box<str>>,
}

/// A command of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stop attestation.
    Stop,
    /// Begin anew.
    Reactivate,
    /// Delete the agent.
    Delete,
}

/// What became of a command.
#[derive(Debug, Clone)]
pub enum CommandOutcome {
    /// Carried out and stored.
    Done,
    /// Under way.
    Accepted,
    /// Not stored; it is kept and stored as soon as the database answers.
    NotStored(StoreError),
}

/// Carries out a command; answers when it is stored.
#[derive(Message)]
#[rtype(result = "CommandOutcome")]
pub(super) struct Obey(pub Command);

/// Asks what the actor knows.
#[derive(Message)]
#[rtype(result = "AgentSnapshot")]
pub(super) struct Snapshot;

/// Something that needs no answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Tell {
    /// A policy of the agent was replaced.
    PolicyChanged,
    /// What the agent was enrolled with was changed; this is its row.
    Amended(Box<AgentRecord>),
    /// A coalesced write found the row gone or in another state.
    RowChanged(Option<OperationalState>),
    /// Hand held-back changes to the writer.
    Flush,
    /// End the actor; the row is gone.
    End,
}

impl AgentActor {
    /// An actor for a lifecycle that goes on from `state`.
    pub(super) fn new(
        shard: Rc<ShardContext>,
        material: Arc<AgentMaterial>,
        state: PullState,
        guard: ExitGuard,
        unusable: Option<Box<str>>,
    ) -> Self {
        Self {
            guard,
            shard,
            material,
            state: Some(Box::new(state)),
            deadline: DeadlineSlot::default(),
            turn: Turn::default(),
            policies: None,
            lazy_since: None,
            failure_details: None,
            last_verdict: LastVerdict::default(),
            unusable,
        }
    }

    /// Runs `body` as a handler, unless an earlier one panicked or the actor is about to end.
    pub(super) fn handle_guarded<R>(&mut self, body: impl FnOnce(&mut Self) -> R) -> Option<R> {
        if !self.guard.enter() {
            return None;
        }
        let result = body(self);
        self.guard.leave();
        Some(result)
    }

    /// Carries the state over one input and returns the effects.
    pub(super) fn step(&mut self, input: Input, now: Now) -> Effects {
        let Some(state) = self.state.take() else {
            return Effects::new();
        };
        let entropy = self.shard.entropy();
        let has_failed = state.phase == Phase::Ended(Ending::Failed);
        let (mut state, effects) = transition(*state, input, self.shard.terms(self.material.has_share), now, &entropy);
        if !state.in_flight() {
            self.turn.end();
        }
        if state.phase == Phase::Ended(Ending::Failed) && !has_failed {
            let reason = self.failure_details.as_deref().and_then(|details| details.first());
            tracing::warn!(target: "keylime.verifier", agent_id = %self.material.agent_id,
                reason = reason.map_or("", String::as_str), "agent is Failed without an appraisal, stopping polling");
        }
        self.shard.system.shared.share_algorithms(&mut state.facts.algorithms);
        self.state = Some(Box::new(state));
        effects
    }

    /// A step with its effects.
    pub(super) fn advance(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.shard.now();
        let effects = self.step(input, now);
        self.run_effects(effects, None, None, now, ctx);
    }

    pub(super) fn timer_fired(&mut self, ctx: &mut Context<Self>) {
        self.handle_guarded(|actor| {
            let now = actor.shard.now();
            match actor.deadline.fired(now.at, ctx, Self::timer_fired) {
                Fired::NotYet => {}
                Fired::Due { at, reason } => actor.deadline_reached(at, reason, now, ctx),
            }
        });
    }

    pub(super) fn deadline_reached(
        &mut self,
        at: Timestamp,
        reason: DeadlineReason,
        now: Now,
        ctx: &mut Context<Self>,
    ) {
        if asks(reason) {
            if let Some(delay) = self.no_room(at, ctx) {
                return self.advance(Input::Deferred(delay), ctx);
            }
            metrics::histogram!("keylime_verifier_lateness_seconds", "reason" => reason.name())
                .record(now.at.since(at).as_secs_f64());
        }
        self.advance(Input::DeadlineReached, ctx);
    }

    pub(super) fn quote_replied(&mut self, ticket: Ticket, reply: AgentReply, ctx: &mut Context<Self>) {
        let now = self.shard.now();
        let (meaning, body) = match &reply {
            AgentReply::Response { status, body } => (classify_quote_reply(*status, body), Some(body.clone())),
            AgentReply::Unreachable(_) => (QuoteReply::Unreachable, None),
        };
        if meaning == QuoteReply::Unreachable {
            self.note_unreachable(&reply);
        }
        let effects = self.step(Input::QuoteReplied(ticket, meaning), now);
        self.run_effects(effects, body, None, now, ctx);
    }

    pub(super) fn version_replied(&mut self, ticket: Ticket, reply: AgentReply, ctx: &mut Context<Self>) {
        let meaning = match &reply {
            AgentReply::Response { status, body } => classify_version_reply(*status, body),
            AgentReply::Unreachable(_) => VersionReply::Unreachable,
        };
        if meaning == VersionReply::Unreachable {
            self.note_unreachable(&reply);
        }
        self.advance(Input::VersionReplied(ticket, meaning), ctx);
    }

    pub(super) fn share_replied(&mut self, ticket: Ticket, reply: Result<AgentReply, String>, ctx: &mut Context<Self>) {
        let meaning = match &reply {
            Ok(AgentReply::Response { status, body }) => classify_share_reply(*status, body),
            Ok(AgentReply::Unreachable(_)) => ShareReply::Unreachable,
            Err(reason) => ShareReply::Unusable(reason.clone()),
        };
        if let (ShareReply::Unreachable, Ok(reply)) = (&meaning, &reply) {
            self.note_unreachable(reply);
        }
        self.advance(Input::ShareReplied(ticket, meaning), ctx);
    }

    pub(super) fn appraised(&mut self, ticket: Ticket, verdict: Verdict, ctx: &mut Context<Self>) {
        match &verdict {
            Verdict::Passed { .. } => {
                metrics::counter!("keylime_verifier_attestations_total", "outcome" => "passed").increment(1);
                self.failure_details = None;
                self.last_verdict.pass();
            }
            Verdict::Failed { failures, .. } => {
                metrics::counter!("keylime_verifier_attestations_total", "outcome" => "failed").increment(1);
                let details = failure_details(failures);
                tracing::warn!(target: "keylime.verifier", agent_id = %self.material.agent_id,
                    failures = failures.as_slice().len(), first = %details.first().map_or("", String::as_str),
                    "attestation failed");
                write_log_lines(self.material.agent_id.as_str(), failures);
                self.failure_details = Some(details.into());
                self.last_verdict.fail(failures);
            }
            Verdict::BoottimeChanged { .. } => {
                metrics::counter!("keylime_verifier_attestations_total", "outcome" => "rebooted").increment(1);
            }
            Verdict::Unreadable(reason) => {
                metrics::counter!("keylime_verifier_attestations_total", "outcome" => "unreadable").increment(1);
                self.failure_details = Some(Box::new([bounded(reason.clone())]));
            }
        }
        self.advance(Input::Appraised(ticket, Box::new(verdict)), ctx);
        if self.state.as_ref().is_some_and(|state| state.phase == Phase::Ended(Ending::InvalidQuote)) {
            tracing::warn!(target: "keylime.verifier", "Agent {} failed, stopping polling", self.material.agent_id);
        }
    }

    fn note_unreachable(&mut self, reply: &AgentReply) {
        let reason = match reply {
            AgentReply::Response { status, .. } => format!("answered with status {status}"),
            AgentReply::Unreachable(reason) => reason.to_string(),
        };
        metrics::counter!("keylime_verifier_attestations_total", "outcome" => "unreachable").increment(1);
        tracing::warn!(target: "keylime.verifier", agent_id = %self.material.agent_id, reason, "agent unreachable");
        self.failure_details = Some(Box::new([bounded(reason)]));
    }

    /// The row is gone: the actor ends for good.
    pub(super) fn end(&mut self, ctx: &mut Context<Self>) {
        self.deadline.clear::<Self>(ctx);
        self.shard.transport().forget(&self.material.agent_id);
        self.guard.stop_meant();
        ctx.stop();
    }

    /// An internal fault: the supervisor builds a fresh actor from the last stored row.
    pub(super) fn crash(&mut self, reason: &str, ctx: &mut Context<Self>) {
        tracing::error!(target: "keylime.verifier", agent_id = %self.material.agent_id, reason, "internal fault");
        metrics::counter!("keylime_verifier_internal_faults_total").increment(1);
        ctx.stop();
    }

    pub(super) fn row_changed(&mut self, stored: Option<OperationalState>, ctx: &mut Context<Self>) {
        self.advance(Input::RowChanged(stored), ctx);
        let deleted = Phase::Ended(Ending::Deleted);
        if stored.is_none() && self.state.as_ref().is_some_and(|state| state.phase == deleted) {
            self.end(ctx);
        }
    }

    fn obey(&mut self, command: Command, ctx: &mut Context<Self>) -> ResponseFuture<CommandOutcome> {
        let now = self.shard.now();
        let effects = self.step(
            match command {
                Command::Stop => Input::StopRequested,
                Command::Reactivate => Input::ReactivateRequested,
                Command::Delete => Input::DeleteRequested,
            },
            now,
        );
        let (stored, receipt) = oneshot::channel();
        let is_under_way = self.state.as_ref().is_some_and(|state| state.phase == Phase::Terminating);
        let stores = self.run_effects(effects, None, Some(stored), now, ctx);
        Box::pin(async move {
            if !stores {
                return if command == Command::Delete { CommandOutcome::Accepted } else { CommandOutcome::Done };
            }
            match await_stored(command, receipt).await {
                CommandOutcome::Done if is_under_way => CommandOutcome::Accepted,
                outcome => outcome,
            }
        })
    }

    fn snapshot(&self) -> AgentSnapshot {
        AgentSnapshot {
            agent_id: self.material.agent_id.clone(),
            live: self.state.as_ref().map(|state| (state.shown, state.facts.clone())),
            failure_details: self.failure_details.as_deref().map(<[String]>::to_vec).unwrap_or_default(),
            explanations: self.last_verdict.explanations(),
            quarantined: false,
        }
    }

    /// What the running request's evidence is appraised with; `None` when it is too large for this thread.
    pub(super) fn fits_arbiter(body: &Bytes) -> bool {
        body.len() <= INLINE_BODY
    }
}

impl Actor for AgentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let live = self.shard.system.live.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("keylime_verifier_live_actors").set(live as f64);
        self.handle_guarded(|actor| {
            if let Some(reason) = actor.unusable.take() {
                return actor.advance(Input::Unusable(reason.into()), ctx);
            }
            let now = actor.shard.now();
            let due = actor.state.as_ref().filter(|state| state.phase == Phase::Resting).map(|state| state.due);
            if let Some(due) = due {
                actor.deadline.set((due, DeadlineReason::NextAttestation), due, now.at, ctx, Self::timer_fired);
            }
        });
    }
}

impl AgentActor {
    /// Goes on by the row's new terms.
    fn amended(&mut self, record: &AgentRecord, ctx: &mut Context<Self>) {
        let system = &self.shard.system;
        match AgentMaterial::from_record(record, system.agent_tls, &system.shared) {
            Ok(material) => self.material = Arc::new(material),
            Err(reason) => {
                // The change was checked before it was stored, so somebody else has changed the row since.
                tracing::error!(target: "keylime.verifier", agent_id = %record.agent_id, reason,
                    "a changed agent cannot be attested, it goes on as before");
                return;
            }
        }
        self.policies = None;
        self.advance(Input::PolicyChanged, ctx);
    }
}

impl Handler<Obey> for AgentActor {
    type Result = ResponseFuture<CommandOutcome>;

    fn handle(&mut self, Obey(command): Obey, ctx: &mut Self::Context) -> Self::Result {
        self.handle_guarded(|actor| actor.obey(command, ctx)).unwrap_or_else(|| {
            let ending = StoreError::Unavailable("the agent's actor is ending".to_owned());
            Box::pin(async { CommandOutcome::NotStored(ending) })
        })
    }
}

impl Handler<Snapshot> for AgentActor {
    type Result = actix::MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.snapshot())
    }
}

impl Handler<Tell> for AgentActor {
    type Result = ();

    fn handle(&mut self, message: Tell, ctx: &mut Self::Context) {
        self.handle_guarded(|actor| match message {
            Tell::PolicyChanged => {
                actor.policies = None;
                actor.advance(Input::PolicyChanged, ctx);
            }
            Tell::Amended(record) => actor.amended(&record, ctx),
            Tell::RowChanged(stored) => actor.row_changed(stored, ctx),
            Tell::Flush => actor.flush_lazy(),
            Tell::End => actor.end(ctx),
        });
    }
}

/// What became of a command whose write has this receipt.
pub(super) async fn await_stored(
    command: Command,
    receipt: oneshot::Receiver<Result<WriteOutcome, StoreError>>,
) -> CommandOutcome {
    match tokio::time::timeout(COMMAND_PATIENCE, receipt).await {
        Ok(Ok(Ok(WriteOutcome::Gone { .. }))) if command != Command::Delete => CommandOutcome::Done,
        Ok(Ok(Ok(WriteOutcome::Refused(reason)))) => CommandOutcome::NotStored(StoreError::Internal(reason)),
        Ok(Ok(Ok(_))) => CommandOutcome::Done,
        Ok(Ok(Err(error))) => CommandOutcome::NotStored(error),
        Ok(Err(_)) | Err(_) => CommandOutcome::NotStored(StoreError::Unavailable("not stored in time".into())),
    }
}

/// Failures for people.
pub(super) fn failure_details(failures: &Failures) -> Vec<String> {
    failures
        .as_slice()
        .iter()
        .take(MAX_DETAILS)
        .map(|failure| bounded(format!("{}: {}", failure.event_id(), failure.context())))
        .collect()
}

/// Leaves a panic's or an error's text readable, but bounded: an agent chooses parts of it.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_DETAIL_BYTES {
        let end = (0..=MAX_DETAIL_BYTES).rev().find(|&n| text.is_char_boundary(n)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Replies up to this size are appraised on the arbiter: the work is far below half a millisecond, less than a trip to
/// another thread and back costs under load.
const INLINE_BODY: usize = 6 * 1024;
const MAILBOX: usize = 8;
const MAX_DETAILS: usize = 16;
const MAX_DETAIL_BYTES: usize = 400;
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
