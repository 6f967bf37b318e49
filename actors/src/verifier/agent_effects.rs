//! Carries out the effects of an agent's transitions. It decides nothing.

use crate::persistence::batch_writer::{Keep, Receipt};
use crate::ports::{AgentCall, AgentMethod, AgentProgress, StoreError, VerifierWrite, WriteOutcome};
use crate::runtime::cpu_pool::{JobPanicked, guarded};
use crate::verifier::agent_actor::AgentActor;
use crate::verifier::appraiser::AppraisalJob;
use crate::verifier::key_share::encrypted_share;
use crate::verifier::policy_cache::AgentPolicies;
use crate::verifier::progress_rows::progress_of;
use crate::verifier::row_outcome::{RowChanged, outbox_of, row_change, writer_stopped};
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytes::Bytes;
use keylime_engine::lifecycle::deadline::{DeadlineReason, next_attestation};
use keylime_engine::lifecycle::{
    Durability, Effect, Effects, Input, KeyRequest, KeyShare, Notice, OperationalState, QuoteNonce, Ticket, Verdict,
};
use keylime_engine::time::{Now, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the result of a stored command goes.
pub(super) type Stored = oneshot::Sender<Result<WriteOutcome, StoreError>>;

impl AgentActor {
    /// Carries out effects in order; true when one of them is the write a command waits for.
    pub(super) fn run_effects(
        &mut self,
        effects: Effects,
        mut body: Option<Bytes>,
        mut stored: Option<Stored>,
        now: Now,
        ctx: &mut Context<Self>,
    ) -> bool {
        let mut stores = false;
        for effect in effects {
            match effect {
                Effect::RequestEvidence { ticket, nonce, key, ima_entry, version } => {
                    let partial = match key {
                        KeyRequest::Ask => 0,
                        KeyRequest::Known => 1,
                    };
                    let path = format!(
                        "/v{version}/quotes/integrity?nonce={}&mask={}&partial={partial}&ima_ml_entry={ima_entry}",
                        nonce.as_str(),
                        self.material.mask(),
                    );
                    self.ask(path, ctx, move |actor, reply, ctx| actor.quote_replied(ticket, reply, ctx));
                }
                Effect::Appraise { ticket, nonce } => {
                    self.appraise(ticket, nonce, body.take().unwrap_or_default(), ctx);
                }
                Effect::RequestVersion { ticket } => {
                    self.ask("/version".to_owned(), ctx, move |actor, reply, ctx| {
                        actor.version_replied(ticket, reply, ctx);
                    });
                }
                Effect::DeliverShare { ticket, version } => {
                    self.deliver_share(ticket, format!("/v{version}/keys/vkey"), ctx);
                }
                Effect::Persist { durability, notice } => self.persist(durability, notice, now, ctx),
                Effect::StoreState(state) => {
                    stores = true;
                    self.store_state(state, stored.take(), ctx);
                }
                Effect::DeleteRow => {
                    stores = true;
                    self.delete_row(stored.take(), ctx);
                }
                Effect::SetDeadline { at, reason } => {
                    let wake = self.likely_deadline(at, reason, now);
                    self.deadline.set((at, reason), wake, now.at, ctx, Self::timer_fired);
                }
                Effect::StopAttesting => {
                    self.deadline.clear::<Self>(ctx);
                    self.shard.transport().forget(&self.material.agent_id);
                }
                Effect::DropStale => metrics::counter!("keylime_verifier_stale_answers_total").increment(1),
            }
        }
        stores
    }

    /// Most requests are answered long before their deadline, and then the next attestation is what is waited for.
    fn likely_deadline(&self, at: Timestamp, reason: DeadlineReason, now: Now) -> Timestamp {
        match (reason, &self.state) {
            (DeadlineReason::ReplyTimeout, Some(state)) => {
                next_attestation(state.due, now.at, self.shard.system.settings.quote_interval)
            }
            (DeadlineReason::ReplyTimeout, None)
            | (DeadlineReason::NextAttestation | DeadlineReason::RetryBackoff | DeadlineReason::SilenceTimeout, _) => {
                at
            }
        }
    }

    fn ask(
        &mut self,
        path: String,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, crate::ports::AgentReply, &mut Context<Self>) + 'static,
    ) {
        let call = AgentCall {
            agent_id: self.material.agent_id.clone(),
            endpoint: Arc::clone(&self.material.endpoint),
            path,
            method: AgentMethod::Get,
            opening: self.turn.take_opening(),
        };
        let transport = Arc::clone(self.shard.transport());
        let request = async move { transport.send(call).await };
        ctx.spawn(request.into_actor(self).map(|reply, actor, ctx| {
            actor.handle_guarded(|actor| then(actor, reply, ctx));
        }));
    }

    fn appraise(&mut self, ticket: Ticket, nonce: QuoteNonce, body: Bytes, ctx: &mut Context<Self>) {
        match self.policies.clone() {
            Some(policies) if Self::fits_arbiter(&body) => {
                let Some(job) = self.job(nonce, body, policies) else { return };
                let verdict = guarded(|| self.shard.appraiser().appraise(&job));
                self.verdict_given(ticket, verdict, ctx);
            }
            Some(policies) => self.appraise_in_pool(ticket, nonce, body, policies, ctx),
            None => self.resolve_policies(ticket, nonce, body, ctx),
        }
    }

    fn resolve_policies(&mut self, ticket: Ticket, nonce: QuoteNonce, body: Bytes, ctx: &mut Context<Self>) {
        let cache = Arc::clone(&self.shard.system.policies);
        let ids = (self.material.runtime_policy_id, self.material.boot_policy_id);
        let resolve = async move { cache.get(ids).await };
        ctx.spawn(resolve.into_actor(self).map(move |resolved, actor, ctx| {
            actor.handle_guarded(|actor| match resolved {
                Ok(policies) => {
                    // A change meanwhile has made the ticket stale.
                    if actor.state.as_ref().is_some_and(|state| state.awaits(ticket)) {
                        actor.policies = Some(Arc::clone(&policies));
                        actor.appraise_in_pool(ticket, nonce, body, policies, ctx);
                    }
                }
                Err(error) => {
                    tracing::error!(target: "keylime.verifier", agent_id = %actor.material.agent_id, %error,
                        "policies cannot be read, the appraisal is put off");
                    actor.shard.writer().note_outage(&error);
                    actor.advance(Input::Deferred(Duration::from_secs(1)), ctx);
                }
            });
        }));
    }

    fn appraise_in_pool(
        &mut self,
        ticket: Ticket,
        nonce: QuoteNonce,
        body: Bytes,
        policies: Arc<AgentPolicies>,
        ctx: &mut Context<Self>,
    ) {
        let Some(job) = self.job(nonce, body, policies) else { return };
        let appraiser = Arc::clone(self.shard.appraiser());
        let pool = self.shard.system.pool.clone();
        let work = async move { pool.run(move || appraiser.appraise(&job)).await };
        ctx.spawn(work.into_actor(self).map(move |verdict, actor, ctx| {
            actor.handle_guarded(|actor| actor.verdict_given(ticket, verdict, ctx));
        }));
    }

    fn verdict_given(&mut self, ticket: Ticket, verdict: Result<Verdict, JobPanicked>, ctx: &mut Context<Self>) {
        match verdict {
            Ok(verdict) => self.appraised(ticket, verdict, ctx),
            Err(panic) => self.crash(&panic.to_string(), ctx),
        }
    }

    fn job(&self, nonce: QuoteNonce, body: Bytes, policies: Arc<AgentPolicies>) -> Option<AppraisalJob> {
        let state = self.state.as_ref()?;
        let facts = &state.facts;
        // Without the key the share cannot be encrypted: evidence has to bring it as long as the share is due.
        let needs_key = self.material.has_share && state.share == KeyShare::Due;
        Some(AppraisalJob {
            material: Arc::clone(&self.material),
            policies,
            body,
            nonce,
            payload_key: facts.payload_key.clone().filter(|_| !needs_key),
            ima: facts.ima.clone(),
            clock: facts.clock,
            attestation_count: facts.attestation_count,
            version: facts.version,
        })
    }

    fn deliver_share(&mut self, ticket: Ticket, path: String, ctx: &mut Context<Self>) {
        let store = Arc::clone(self.shard.store());
        let transport = Arc::clone(self.shard.transport());
        let material = Arc::clone(&self.material);
        let key = self.state.as_ref().and_then(|state| state.facts.payload_key.clone());
        let reads = self.shard.system.row_reads.clone();
        let opening = self.turn.take_opening();
        let delivery = async move {
            let record = {
                let _permit = reads.enter().await;
                store.agent(material.agent_id.as_str()).await.map_err(Undelivered::NotYet)?
            };
            let share = record.and_then(|record| record.v).unwrap_or_default();
            let body = encrypted_share(&share, key.as_deref().unwrap_or_default()).map_err(Undelivered::Unusable)?;
            let call = AgentCall {
                agent_id: material.agent_id.clone(),
                endpoint: Arc::clone(&material.endpoint),
                path,
                method: AgentMethod::PostJson(body.into()),
                opening,
            };
            Ok(transport.send(call).await)
        };
        ctx.spawn(delivery.into_actor(self).map(move |outcome, actor, ctx| {
            actor.handle_guarded(|actor| match outcome {
                Ok(reply) => actor.share_replied(ticket, Ok(reply), ctx),
                Err(Undelivered::Unusable(reason)) => actor.share_replied(ticket, Err(reason), ctx),
                Err(Undelivered::NotYet(error)) => {
                    tracing::error!(target: "keylime.verifier", agent_id = %actor.material.agent_id, %error,
                        "the key share cannot be read, its delivery is put off");
                    actor.shard.writer().note_outage(&error);
                    actor.advance(Input::Deferred(Duration::from_secs(1)), ctx);
                }
            });
        }));
    }

    fn persist(&mut self, durability: Durability, notice: Option<Box<Notice>>, now: Now, ctx: &mut Context<Self>) {
        let Some(state) = self.state.as_ref() else { return };
        match durability {
            Durability::Lazy => {
                let since = *self.lazy_since.get_or_insert(now.at);
                if now.at.since(since) >= self.shard.lazy_delay() {
                    self.flush_lazy();
                }
            }
            Durability::Soon => {
                self.lazy_since = None;
                let explanations = self.last_verdict.take_change();
                self.shard.writer().soon(progress_of(&self.material.agent_id, state, explanations));
            }
            Durability::Durable => {
                self.lazy_since = None;
                let explanations = self.last_verdict.take_change();
                let progress = progress_of(&self.material.agent_id, state, explanations);
                match notice {
                    Some(notice) => self.persist_with_notice(progress, *notice, now, ctx),
                    None => {
                        let write = VerifierWrite::Progress { progress, outbox: Vec::new() };
                        let receipt = self.shard.writer().durable(write, Keep::UntilWritten);
                        self.watch_row(receipt, None, ctx);
                    }
                }
            }
        }
    }

    /// Hands a held-back change to the writer.
    pub(super) fn flush_lazy(&mut self) {
        if self.lazy_since.take().is_some()
            && let Some(state) = self.state.as_ref()
        {
            let explanations = self.last_verdict.take_change();
            self.shard.writer().soon(progress_of(&self.material.agent_id, state, explanations));
        }
    }

    /// The verdict and its notice become durable in one transaction, whatever it takes: nobody attests this agent before.
    fn persist_with_notice(&mut self, progress: Box<AgentProgress>, notice: Notice, now: Now, ctx: &mut Context<Self>) {
        let shard = std::rc::Rc::clone(&self.shard);
        let material = Arc::clone(&self.material);
        let label = shard.system.settings.severity.label(notice.severity).to_owned();
        let work = async move {
            let Some(outbox) = outbox_of(&shard, &material.agent_id, notice, label, now).await else {
                return Ok(WriteOutcome::Gone { stored_state: None });
            };
            let write = VerifierWrite::Progress { progress, outbox };
            let outcome = shard.writer().durable(write, Keep::UntilWritten).await;
            shard.composer().committed();
            outcome.unwrap_or_else(|_| Err(writer_stopped()))
        };
        ctx.spawn(work.into_actor(self).map(|outcome, actor, ctx| {
            actor.handle_guarded(|actor| actor.row_written(outcome, ctx));
        }));
    }

    fn store_state(&mut self, state: OperationalState, stored: Option<Stored>, ctx: &mut Context<Self>) {
        let write =
            VerifierWrite::SetState { agent_id: self.material.agent_id.clone(), state: Some(i32::from(state.code())) };
        let receipt = self.shard.writer().durable(write, Keep::UntilWritten);
        self.watch_row(receipt, stored, ctx);
    }

    fn watch_row(&mut self, receipt: Receipt, stored: Option<Stored>, ctx: &mut Context<Self>) {
        let outcome = async move { receipt.await.unwrap_or_else(|_| Err(writer_stopped())) };
        ctx.spawn(outcome.into_actor(self).map(|outcome, actor, ctx| {
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
        let outcome = async move { receipt.await.unwrap_or_else(|_| Err(writer_stopped())) };
        ctx.spawn(outcome.into_actor(self).map(|outcome, actor, ctx| {
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
}

enum Undelivered {
    NotYet(StoreError),
    Unusable(String),
}
