//! Carries out the effects of a push agent's transitions. It decides nothing.

use crate::persistence::batch_writer::Keep;
use crate::ports::{StoreError, VerifierWrite, WriteOutcome};
use crate::runtime::cpu_pool::{JobPanicked, guarded};
use crate::verifier::agent_effects::Stored;
use crate::verifier::appraiser::PushAppraisalJob;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::push_agent_actor::{PushAgentActor, Requester};
use crate::verifier::push_api::AcceptedEvidence;
use crate::verifier::push_rows::push_progress_of;
use crate::verifier::row_outcome::{RowChanged, outbox_of, row_change, state_of, writer_stopped};
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::evidence::capabilities::EvidenceType;
use keylime_engine::lifecycle::{Conclusion, Occurrence, PushEffect, PushEffects, PushInput, Ticket};
use keylime_engine::time::Now;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl PushAgentActor {
    /// Carries out effects in order; true when one of them is the write a command waits for. Answers go to `requester`, or
    /// to whoever waits for evidence to be stored when nobody else asked.
    pub(super) fn run_effects(
        &mut self,
        effects: PushEffects,
        requester: &mut Option<Requester>,
        mut stored: Option<Stored>,
        now: Now,
        ctx: &mut Context<Self>,
    ) -> bool {
        let mut stores = false;
        for effect in effects {
            match effect {
                PushEffect::AnswerOpened(attestation) => {
                    if let Some(Requester::Opening(reply)) = requester.take() {
                        // A client that has gone opens another one.
                        let _ = reply.send(Ok(attestation));
                    }
                }
                PushEffect::AnswerAccepted(attestation, seconds_to_next) => {
                    if let Some(Requester::Submitting(reply)) = self.waiting.take() {
                        // The evidence is judged whether or not the client waits.
                        let _ = reply.send(Ok(AcceptedEvidence { attestation, seconds_to_next }));
                    }
                }
                PushEffect::Refuse(refusal) => {
                    if let Some(requester) = requester.take().or_else(|| self.waiting.take()) {
                        requester.refuse(refusal);
                    }
                }
                PushEffect::StoreEvidence(ticket, attestation, occurrence) => {
                    self.waiting = requester.take();
                    self.store_evidence(ticket, attestation, occurrence, ctx);
                }
                PushEffect::Appraise(ticket, attestation) => self.appraise(ticket, attestation, ctx),
                PushEffect::Conclude(conclusion) => self.conclude(*conclusion, now, ctx),
                PushEffect::ExtendToken => {
                    if let Some(tokens) = self.shard.system.tokens.get() {
                        tokens.extend(&self.material.agent_id);
                    }
                }
                PushEffect::Persist => {
                    stores = true;
                    self.persist(stored.take(), ctx);
                }
                PushEffect::Discard(index) => {
                    let write = VerifierWrite::DiscardAttestation { agent_id: self.material.agent_id.clone(), index };
                    self.write(write, None, ctx);
                }
                PushEffect::NoteSilence => self.note_silence(now),
                PushEffect::StoreState(state) => {
                    stores = true;
                    let state = Some(i32::from(state.code()));
                    let write = VerifierWrite::SetState { agent_id: self.material.agent_id.clone(), state };
                    self.write(write, stored.take(), ctx);
                }
                PushEffect::DeleteRow => {
                    stores = true;
                    self.delete_row(stored.take(), ctx);
                }
                PushEffect::SetDeadline(at, reason) => self.set_deadline(at, reason, now, ctx),
                PushEffect::ClearDeadline => self.deadline.clear::<Self>(ctx),
                PushEffect::DropStale => metrics::counter!("keylime_verifier_stale_answers_total").increment(1),
            }
        }
        stores
    }

    fn store_evidence(
        &mut self,
        ticket: Ticket,
        attestation: Arc<Attestation>,
        occurrence: Occurrence,
        ctx: &mut Context<Self>,
    ) {
        let agent_id = self.material.agent_id.clone();
        let write = VerifierWrite::ReceiveEvidence { agent_id, attestation, occurrence };
        let receipt = self.shard.writer().durable(write, Keep::Once);
        ctx.spawn(receipt.into_actor(self).map(move |outcome, actor, ctx| {
            actor.handle_guarded(|actor| match outcome {
                Ok(Ok(WriteOutcome::Gone { stored_state })) => {
                    actor.row_changed(stored_state.and_then(state_of), ctx);
                    // A row that is there in a state that does not stop attestation has lost a race; the agent repeats.
                    actor.advance(PushInput::NotStored(ticket), ctx);
                }
                Ok(Ok(WriteOutcome::Refused(reason))) => {
                    tracing::error!(target: "keylime.verifier", agent_id = %actor.material.agent_id, reason,
                        "the database refuses an agent's evidence");
                    actor.advance(PushInput::NotStored(ticket), ctx);
                }
                Ok(Ok(_)) => actor.advance(PushInput::Stored(ticket), ctx),
                Ok(Err(error)) => {
                    tracing::warn!(target: "keylime.verifier", agent_id = %actor.material.agent_id, %error,
                        "evidence could not be stored");
                    actor.advance(PushInput::NotStored(ticket), ctx);
                }
                Err(_) => actor.advance(PushInput::NotStored(ticket), ctx),
            });
        }));
    }

    fn appraise(&mut self, ticket: Ticket, attestation: Arc<Attestation>, ctx: &mut Context<Self>) {
        match self.policies.clone() {
            Some(policies) if fits_arbiter(&attestation) => {
                let Some(job) = self.job(attestation, policies) else { return };
                let verdict = guarded(|| self.shard.appraiser().appraise_push(&job));
                self.verdict_given(ticket, verdict, ctx);
            }
            Some(policies) => self.appraise_in_pool(ticket, attestation, policies, ctx),
            None => self.resolve_policies(ticket, attestation, ctx),
        }
    }

    fn resolve_policies(&mut self, ticket: Ticket, attestation: Arc<Attestation>, ctx: &mut Context<Self>) {
        let shard = Rc::clone(&self.shard);
        let ids = (self.material.runtime_policy_id, self.material.boot_policy_id);
        let resolve = async move {
            let mut pause = Duration::from_millis(100);
            loop {
                match shard.system.policies.get(ids).await {
                    Ok(policies) => return policies,
                    Err(error) => shard.writer().note_outage(&error),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        };
        let replaced = self.replaced;
        ctx.spawn(resolve.into_actor(self).map(move |policies, actor, ctx| {
            actor.handle_guarded(|actor| {
                if actor.replaced != replaced {
                    // The appraisal has begun again by the policies of now.
                    return;
                }
                actor.policies.get_or_insert_with(|| Arc::clone(&policies));
                actor.appraise_in_pool(ticket, attestation, policies, ctx);
            });
        }));
    }

    fn appraise_in_pool(
        &mut self,
        ticket: Ticket,
        attestation: Arc<Attestation>,
        policies: Arc<AgentPolicies>,
        ctx: &mut Context<Self>,
    ) {
        let Some(job) = self.job(attestation, policies) else { return };
        let appraiser = Arc::clone(self.shard.appraiser());
        let pool = self.shard.system.pool.clone();
        let work = async move { pool.run(move || appraiser.appraise_push(&job)).await };
        ctx.spawn(work.into_actor(self).map(move |verdict, actor, ctx| {
            actor.handle_guarded(|actor| actor.verdict_given(ticket, verdict, ctx));
        }));
    }

    fn verdict_given(&mut self, ticket: Ticket, verdict: Result<PushVerdict, JobPanicked>, ctx: &mut Context<Self>) {
        match verdict {
            Ok(verdict) => self.appraised(ticket, verdict, ctx),
            Err(panic) => {
                metrics::counter!("keylime_verifier_internal_faults_total").increment(1);
                tracing::error!(target: "keylime.verifier", agent_id = %self.material.agent_id, reason = %panic,
                    "internal fault, the evidence is not judged");
                self.advance(PushInput::Faulted(ticket), ctx);
            }
        }
    }

    fn job(&self, attestation: Arc<Attestation>, policies: Arc<AgentPolicies>) -> Option<PushAppraisalJob> {
        let facts = &self.state.as_ref()?.facts;
        Some(PushAppraisalJob {
            material: Arc::clone(&self.material),
            policies,
            attestation,
            ima: facts.ima.clone(),
            clock: facts.clock,
            attestation_count: facts.attestation_count,
        })
    }

    /// The verdict and its notice become durable in one transaction, whatever it takes.
    fn conclude(&mut self, conclusion: Conclusion, now: Now, ctx: &mut Context<Self>) {
        let Some(state) = self.state.as_ref() else { return };
        let explanations = self.last_verdict.take_change();
        let progress = push_progress_of(&self.material, &state.facts, state.presence, explanations);
        let Conclusion { attestation, prune, notice } = conclusion;
        let (index, prune) = (attestation.index, prune.into_vec());
        let Some(notice) = notice else {
            let write = VerifierWrite::Conclude { progress, attestation, prune, outbox: Vec::new() };
            let receipt = self.shard.writer().durable(write, Keep::UntilWritten);
            ctx.spawn(receipt.into_actor(self).map(move |outcome, actor, ctx| {
                let outcome = outcome.unwrap_or_else(|_| Err(writer_stopped()));
                actor.handle_guarded(|actor| actor.concluded(index, outcome, ctx));
            }));
            return;
        };
        let shard = Rc::clone(&self.shard);
        let agent_id = self.material.agent_id.clone();
        let label = shard.system.push_settings.severity.label(notice.severity).to_owned();
        let work = async move {
            let Some(outbox) = outbox_of(&shard, &agent_id, *notice, label, now).await else {
                return Ok(WriteOutcome::Gone { stored_state: None });
            };
            let write = VerifierWrite::Conclude { progress, attestation, prune, outbox };
            let outcome = shard.writer().durable(write, Keep::UntilWritten).await;
            shard.composer().committed();
            outcome.unwrap_or_else(|_| Err(writer_stopped()))
        };
        ctx.spawn(work.into_actor(self).map(move |outcome, actor, ctx| {
            actor.handle_guarded(|actor| actor.concluded(index, outcome, ctx));
        }));
    }

    fn concluded(
        &mut self,
        index: AttestationIndex,
        outcome: Result<WriteOutcome, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let is_written = matches!(outcome, Ok(WriteOutcome::Written));
        self.row_written(outcome, ctx);
        if is_written {
            self.advance(PushInput::Concluded(index), ctx);
        }
    }

    fn persist(&mut self, stored: Option<Stored>, ctx: &mut Context<Self>) {
        let Some(state) = self.state.as_ref() else { return };
        let explanations = self.last_verdict.take_change();
        let progress = push_progress_of(&self.material, &state.facts, state.presence, explanations);
        self.write(VerifierWrite::Progress { progress, outbox: Vec::new() }, stored, ctx);
    }

    fn write(&mut self, write: VerifierWrite, stored: Option<Stored>, ctx: &mut Context<Self>) {
        let receipt = self.shard.writer().durable(write, Keep::UntilWritten);
        ctx.spawn(receipt.into_actor(self).map(|outcome, actor, ctx| {
            let outcome = outcome.unwrap_or_else(|_| Err(writer_stopped()));
            if let Some(stored) = stored {
                // The command may have stopped waiting.
                let _ = stored.send(outcome.clone());
            }
            actor.handle_guarded(|actor| actor.row_written(outcome, ctx));
        }));
    }

    fn row_written(&mut self, outcome: Result<WriteOutcome, StoreError>, ctx: &mut Context<Self>) {
        if let Some(RowChanged { stored }) = row_change(&self.material.agent_id, outcome) {
            self.row_changed(stored, ctx);
        }
    }

    fn delete_row(&mut self, stored: Option<Stored>, ctx: &mut Context<Self>) {
        let write = VerifierWrite::Delete { agent_id: self.material.agent_id.clone() };
        let receipt = self.shard.writer().durable(write, Keep::UntilWritten);
        ctx.spawn(receipt.into_actor(self).map(|outcome, actor, ctx| {
            let outcome = outcome.unwrap_or_else(|_| Err(writer_stopped()));
            let is_deleted = outcome.is_ok();
            if let Some(stored) = stored {
                // The command may have stopped waiting.
                let _ = stored.send(outcome);
            }
            actor.handle_guarded(|actor| {
                if is_deleted {
                    actor.end(ctx);
                }
            });
        }));
    }

    fn note_silence(&self, now: Now) {
        metrics::counter!("keylime_verifier_push_timeouts_total").increment(1);
        tracing::warn!(target: "keylime.verifier", agent_id = %self.material.agent_id, "push agent timed out");
        let fleet = self.shard.system.live.load(Ordering::Relaxed);
        let alarm = self.shard.system.silences.lock().note(now.at, fleet);
        if let Some(count) = alarm {
            metrics::counter!("keylime_verifier_mass_timeout_alarms_total").increment(1);
            tracing::error!(target: "keylime.verifier", count, fleet,
                "many push agents timed out together: look for an outage between them and this verifier");
        }
    }
}

/// Whether evidence is judged faster than it travels to another thread and back.
fn fits_arbiter(attestation: &Attestation) -> bool {
    let size = |kind| attestation.log(kind).map_or(0, |log| log.len());
    size(EvidenceType::ImaLog) + size(EvidenceType::UefiLog) <= INLINE_LOG_BYTES
}

const INLINE_LOG_BYTES: usize = 4 * 1024;
