//! One enrolled push agent: translates what happens into inputs of the state machine. It decides nothing.

use crate::runtime::admission::Permit;
use crate::runtime::deadline_slot::{DeadlineSlot, Fired};
use crate::runtime::exit_guard::ExitGuard;
use crate::verifier::agent_actor::{Command, CommandOutcome, Obey, Snapshot, Tell, await_stored, failure_details};
use crate::verifier::last_verdict::LastVerdict;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::push_api::AcceptedEvidence;
use crate::verifier::push_material::PushMaterial;
use crate::verifier::shard_context::ShardContext;
use crate::verifier::status::AgentSnapshot;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::evidence::field_error::FieldError;
use keylime_engine::evidence::negotiation::NegotiationTerms;
use keylime_engine::evidence::offer::Offer;
use keylime_engine::lifecycle::deadline::DeadlineReason;
use keylime_engine::lifecycle::{
    Ending, OperationalState, PushEffects, PushInput, PushPhase, PushState, PushTerms, Refusal, Submission, Ticket,
    push_transition,
};
use keylime_engine::time::Now;
use serde_json::Value;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// The actor of one enrolled push agent.
pub struct PushAgentActor {
    pub(super) guard: ExitGuard,
    pub(super) shard: Rc<ShardContext>,
    pub(super) material: Arc<PushMaterial>,
    /// Absent only while a transition runs.
    pub(super) state: Option<Box<PushState>>,
    pub(super) deadline: DeadlineSlot,
    /// Bounds evidence in memory; held from its arrival to its verdict.
    pub(super) permit: Option<Permit>,
    /// The policies, until one of them is replaced.
    pub(super) policies: Option<Arc<AgentPolicies>>,
    /// How often they were replaced: what was read before is not what holds.
    pub(super) replaced: u32,
    /// Whoever waits for its evidence to be stored.
    pub(super) waiting: Option<Requester>,
    pub(super) failure_details: Option<Box<[String]>>,
    pub(super) last_verdict: LastVerdict,
    /// The policies are being read for an attestation that is to be opened.
    opening: bool,
    /// Evidence that was taken before the last restart and is not judged.
    pending: Option<AttestationIndex>,
}

/// Whoever waits for an answer.
pub(super) enum Requester {
    Opening(oneshot::Sender<Result<Arc<Attestation>, Refusal>>),
    Submitting(oneshot::Sender<Result<AcceptedEvidence, Refusal>>),
}

impl Requester {
    pub(super) fn refuse(self, refusal: Refusal) {
        // A client that has gone needs no answer.
        match self {
            Self::Opening(reply) => drop(reply.send(Err(refusal))),
            Self::Submitting(reply) => drop(reply.send(Err(refusal))),
        }
    }
}

/// Opens an attestation.
#[derive(Message)]
#[rtype(result = "Result<Arc<Attestation>, Refusal>")]
pub(super) struct OpenAttestation(pub Arc<ReadOffer>);

/// An offer, or what is wrong with its form.
pub type ReadOffer = Result<Offer, Vec<FieldError>>;

/// Sends evidence.
#[derive(Message)]
#[rtype(result = "Result<AcceptedEvidence, Refusal>")]
pub(super) struct SubmitEvidence {
    pub index: Option<Box<str>>,
    pub evidence: Option<Option<Value>>,
}

/// Asks for the open attestation, which is in no database.
#[derive(Message)]
#[rtype(result = "Option<Arc<Attestation>>")]
pub(super) struct ReadOpen;

impl PushAgentActor {
    /// An actor for a lifecycle that goes on from `state`.
    pub(super) fn new(
        shard: Rc<ShardContext>,
        material: Arc<PushMaterial>,
        state: PushState,
        pending: Option<AttestationIndex>,
        guard: ExitGuard,
    ) -> Self {
        Self {
            guard,
            shard,
            material,
            state: Some(Box::new(state)),
            deadline: DeadlineSlot::default(),
            permit: None,
            policies: None,
            replaced: 0,
            waiting: None,
            failure_details: None,
            last_verdict: LastVerdict::default(),
            opening: false,
            pending,
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
    fn step(&mut self, input: PushInput<'_>, now: Now) -> PushEffects {
        let Some(state) = self.state.take() else {
            return PushEffects::new();
        };
        let entropy = self.shard.entropy();
        let terms = PushTerms {
            settings: &self.shard.system.push_settings,
            kind: self.material.kind,
            wall: self.shard.clock().wall_micros(),
        };
        let (state, effects) = push_transition(*state, input, terms, now, &entropy);
        if !matches!(state.phase, PushPhase::Storing { .. } | PushPhase::Appraising { .. }) {
            self.permit = None;
        }
        self.state = Some(Box::new(state));
        effects
    }

    /// A step with its effects.
    pub(super) fn advance(&mut self, input: PushInput<'_>, ctx: &mut Context<Self>) {
        let now = self.shard.now();
        let effects = self.step(input, now);
        self.run_effects(effects, &mut None, None, now, ctx);
    }

    fn timer_fired(&mut self, ctx: &mut Context<Self>) {
        self.handle_guarded(|actor| {
            let now = actor.shard.now();
            match actor.deadline.fired(now.at, ctx, Self::timer_fired) {
                Fired::NotYet => {}
                Fired::Due { at, reason } => {
                    metrics::histogram!("keylime_verifier_lateness_seconds", "reason" => reason.name())
                        .record(now.at.since(at).as_secs_f64());
                    actor.advance(PushInput::DeadlineReached, ctx);
                }
            }
        });
    }

    pub(super) fn set_deadline(
        &mut self,
        at: keylime_engine::time::Timestamp,
        reason: DeadlineReason,
        now: Now,
        ctx: &mut Context<Self>,
    ) {
        self.deadline.set((at, reason), at, now.at, ctx, Self::timer_fired);
    }

    /// Refuses what the verifier has no room for, before a challenge exists.
    fn overload(&self) -> Option<Refusal> {
        let writer = self.shard.writer();
        if self.shard.draining.get() || writer.saturated() {
            metrics::counter!("keylime_verifier_push_refused_total", "cause" => "stores").increment(1);
            return Some(Refusal::Busy { retry_after: BUSY_SECONDS + u32::from(self.shard.entropy().jitter() % 4) });
        }
        None
    }

    fn open(&mut self, offer: Arc<ReadOffer>, requester: Requester, ctx: &mut Context<Self>) {
        if let Some(refusal) = self.overload() {
            return requester.refuse(refusal);
        }
        // The permit is given back at once: an open attestation may stay open for long, but while none is free, nothing
        // more is to be asked for.
        if self.shard.system.admission.try_enter().is_none() {
            metrics::counter!("keylime_verifier_push_refused_total", "cause" => "requests").increment(1);
            return requester.refuse(Refusal::Busy { retry_after: 1 + u32::from(self.shard.entropy().jitter() % 4) });
        }
        if self.opening {
            return requester.refuse(Refusal::Conflict);
        }
        match self.policies.clone() {
            Some(policies) => self.open_by(&offer, &policies, requester, ctx),
            None => self.open_after_policies(offer, requester, ctx),
        }
    }

    fn open_after_policies(&mut self, offer: Arc<ReadOffer>, requester: Requester, ctx: &mut Context<Self>) {
        self.opening = true;
        let cache = Arc::clone(&self.shard.system.policies);
        let ids = (self.material.runtime_policy_id, self.material.boot_policy_id);
        let resolve = async move { cache.get(ids).await };
        let replaced = self.replaced;
        ctx.spawn(resolve.into_actor(self).map(move |resolved, actor, ctx| {
            actor.handle_guarded(|actor| {
                actor.opening = false;
                match resolved {
                    Ok(_) if actor.replaced != replaced => actor.open(offer, requester, ctx),
                    Ok(policies) => {
                        actor.policies = Some(Arc::clone(&policies));
                        actor.open_by(&offer, &policies, requester, ctx);
                    }
                    Err(error) => {
                        tracing::error!(target: "keylime.verifier", agent_id = %actor.material.agent_id, %error,
                            "policies cannot be read, no attestation is opened");
                        actor.shard.writer().note_outage(&error);
                        requester.refuse(Refusal::Busy { retry_after: BUSY_SECONDS });
                    }
                }
            });
        }));
    }

    fn open_by(&mut self, offer: &ReadOffer, policies: &AgentPolicies, requester: Requester, ctx: &mut Context<Self>) {
        let material = Arc::clone(&self.material);
        let terms = material.terms.as_ref().map_err(ToString::to_string);
        let usable = terms.and_then(|terms| {
            let key = terms.attestation_key.prepared().map_err(|error| error.to_string())?;
            Ok((terms, key))
        });
        let (terms, key) = match usable {
            Ok(usable) => usable,
            Err(reason) => {
                tracing::error!(target: "keylime.verifier", agent_id = %material.agent_id, reason,
                    "the enrolment cannot be attested with");
                return requester.refuse(Refusal::AttestationsDisabled);
            }
        };
        let negotiation = NegotiationTerms {
            requirements: material.requirements(policies),
            accepted_hash: &terms.accepted.hash,
            accepted_sign: &terms.accepted.sign,
            attestation_key: &key,
        };
        let now = self.shard.now();
        let effects = self.step(PushInput::Open(offer, &negotiation), now);
        self.run_effects(effects, &mut Some(requester), None, now, ctx);
    }

    fn submit(&mut self, message: &SubmitEvidence, requester: Requester, ctx: &mut Context<Self>) {
        if let Some(refusal) = self.overload() {
            return requester.refuse(refusal);
        }
        let now = self.shard.now();
        let permit = match self.permit {
            Some(_) => None,
            None => match self.shard.system.admission.try_enter() {
                Some(permit) => Some(permit),
                None => return requester.refuse(Refusal::Busy { retry_after: 1 }),
            },
        };
        let evidence = message.evidence.as_ref().map(Option::as_ref);
        let submission = Submission { index: message.index.as_deref(), evidence };
        let effects = self.step(PushInput::Submit(submission), now);
        if matches!(self.state.as_ref().map(|state| &state.phase), Some(PushPhase::Storing { .. })) {
            self.permit = self.permit.take().or(permit);
        }
        self.run_effects(effects, &mut Some(requester), None, now, ctx);
    }

    pub(super) fn appraised(&mut self, ticket: Ticket, verdict: PushVerdict, ctx: &mut Context<Self>) {
        let outcome = match &verdict {
            PushVerdict::Passed { .. } => {
                self.failure_details = None;
                self.last_verdict.pass();
                "passed"
            }
            PushVerdict::Failed { failures, reason, .. } => {
                let details = failure_details(failures);
                tracing::warn!(target: "keylime.verifier", agent_id = %self.material.agent_id,
                    failures = failures.as_slice().len(), reason = reason.name(),
                    first = %details.first().map_or("", String::as_str), "attestation failed");
                self.failure_details = Some(details.into());
                self.last_verdict.fail(failures);
                "failed"
            }
            PushVerdict::Outdated => "outdated",
        };
        metrics::counter!("keylime_verifier_attestations_total", "outcome" => outcome).increment(1);
        self.advance(PushInput::Appraised(ticket, Box::new(verdict)), ctx);
    }

    /// The row is gone: the actor ends for good.
    pub(super) fn end(&mut self, ctx: &mut Context<Self>) {
        self.deadline.clear::<Self>(ctx);
        self.guard.stop_meant();
        ctx.stop();
    }

    pub(super) fn row_changed(&mut self, stored: Option<OperationalState>, ctx: &mut Context<Self>) {
        self.advance(PushInput::RowChanged(stored), ctx);
        let deleted = PushPhase::Ended(Ending::Deleted);
        if stored.is_none() && self.state.as_ref().is_some_and(|state| state.phase == deleted) {
            self.end(ctx);
        }
    }

    fn policy_changed(&mut self, ctx: &mut Context<Self>) {
        self.policies = None;
        self.replaced = self.replaced.wrapping_add(1);
        self.advance(PushInput::PolicyChanged, ctx);
    }

    fn obey(&mut self, command: Command, ctx: &mut Context<Self>) -> ResponseFuture<CommandOutcome> {
        let now = self.shard.now();
        let input = match command {
            Command::Stop => PushInput::StopRequested,
            Command::Reactivate => PushInput::ReactivateRequested,
            Command::Delete => PushInput::DeleteRequested,
        };
        let effects = self.step(input, now);
        let (stored, receipt) = oneshot::channel();
        let stores = self.run_effects(effects, &mut None, Some(stored), now, ctx);
        if !stores {
            let outcome = if command == Command::Delete { CommandOutcome::Accepted } else { CommandOutcome::Done };
            return Box::pin(async move { outcome });
        }
        Box::pin(await_stored(command, receipt))
    }

    /// Takes up evidence that was stored and never judged.
    fn take_up(&mut self, index: AttestationIndex, ctx: &mut Context<Self>) {
        let shard = Rc::clone(&self.shard);
        let agent_id = self.material.agent_id.clone();
        let load = async move {
            let mut pause = Duration::from_millis(100);
            loop {
                match shard.store().attestation(agent_id.as_str(), index).await {
                    Ok(attestation) => return attestation,
                    Err(error) => shard.writer().note_outage(&error),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        };
        ctx.spawn(load.into_actor(self).map(|attestation, actor, ctx| {
            actor.handle_guarded(|actor| match attestation {
                Some(attestation) => actor.advance(PushInput::Resumed(Arc::new(attestation)), ctx),
                None => tracing::error!(target: "keylime.verifier", agent_id = %actor.material.agent_id,
                    "evidence that was not judged cannot be read, the agent has to send new evidence"),
            });
        }));
    }
}

impl Actor for PushAgentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let live = self.shard.system.live.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("keylime_verifier_live_actors").set(live as f64);
        self.handle_guarded(|actor| {
            let now = actor.shard.now();
            if let Some(at) = actor.state.as_ref().and_then(|state| state.timeout) {
                actor.set_deadline(at, DeadlineReason::SilenceTimeout, now, ctx);
            }
            if let Some(index) = actor.pending.take() {
                actor.take_up(index, ctx);
            }
        });
    }
}

impl Handler<OpenAttestation> for PushAgentActor {
    type Result = ResponseFuture<Result<Arc<Attestation>, Refusal>>;

    fn handle(&mut self, OpenAttestation(offer): OpenAttestation, ctx: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.handle_guarded(|actor| actor.open(offer, Requester::Opening(reply), ctx));
        Box::pin(async move { answer.await.unwrap_or(Err(Refusal::Busy { retry_after: BUSY_SECONDS })) })
    }
}

impl Handler<SubmitEvidence> for PushAgentActor {
    type Result = ResponseFuture<Result<AcceptedEvidence, Refusal>>;

    fn handle(&mut self, message: SubmitEvidence, ctx: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.handle_guarded(|actor| actor.submit(&message, Requester::Submitting(reply), ctx));
        Box::pin(async move { answer.await.unwrap_or(Err(Refusal::Busy { retry_after: BUSY_SECONDS })) })
    }
}

impl Handler<ReadOpen> for PushAgentActor {
    type Result = Option<Arc<Attestation>>;

    fn handle(&mut self, _: ReadOpen, _: &mut Self::Context) -> Self::Result {
        self.state.as_ref().and_then(|state| state.open().cloned())
    }
}

impl Handler<Obey> for PushAgentActor {
    type Result = ResponseFuture<CommandOutcome>;

    fn handle(&mut self, Obey(command): Obey, ctx: &mut Self::Context) -> Self::Result {
        self.handle_guarded(|actor| actor.obey(command, ctx)).unwrap_or_else(|| {
            let ending = crate::ports::StoreError::Unavailable("the agent's actor is ending".to_owned());
            Box::pin(async { CommandOutcome::NotStored(ending) })
        })
    }
}

impl Handler<Snapshot> for PushAgentActor {
    type Result = actix::MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        // A push agent's row is written before anything of it can be seen, so it says all there is to say.
        actix::MessageResult(AgentSnapshot {
            agent_id: self.material.agent_id.clone(),
            live: None,
            failure_details: self.failure_details.as_deref().map(<[String]>::to_vec).unwrap_or_default(),
            explanations: self.last_verdict.explanations(),
            quarantined: false,
        })
    }
}

impl Handler<Tell> for PushAgentActor {
    type Result = ();

    fn handle(&mut self, message: Tell, ctx: &mut Self::Context) {
        self.handle_guarded(|actor| match message {
            Tell::PolicyChanged => actor.policy_changed(ctx),
            Tell::Amended(record) => {
                actor.material = Arc::new(PushMaterial::from_record(&record, &actor.shard.system.shared));
                actor.policy_changed(ctx);
            }
            Tell::RowChanged(stored) => actor.row_changed(stored, ctx),
            Tell::Flush => {}
            Tell::End => actor.end(ctx),
        });
    }
}

const MAILBOX: usize = 8;
/// Seconds after which an agent may try again that met a verifier without resources.
const BUSY_SECONDS: u32 = 2;
