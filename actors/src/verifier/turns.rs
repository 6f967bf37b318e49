//! Requests go when the verifier has room for them, in the order in which they were due.
//!
//! Two things are short. Requests in flight hold sockets and memory, also those that nobody answers. Connections that are
//! being opened cost processor time: when thousands are begun at once, each of them takes longer than an agent may take to
//! answer, and a busy verifier would look like a fleet that is gone. An agent without room waits in a queue, not by asking
//! again and again.

use crate::runtime::admission::Permit;
use crate::verifier::agent_actor::AgentActor;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use keylime_engine::lifecycle::deadline::DeadlineReason;
use keylime_engine::time::Timestamp;
use std::time::Duration;

/// What a request needs.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Since when the agent waits for its turn.
    waiting_since: Option<Timestamp>,
    /// Held while a request is in flight.
    request: Option<Permit>,
    /// Handed to the transport with a request that opens a connection.
    opening: Option<Permit>,
}

impl Turn {
    /// The request is over.
    pub(super) fn end(&mut self) {
        (self.request, self.opening) = (None, None);
    }

    /// The permit to open a connection, if the request was granted one.
    pub(super) fn take_opening(&mut self) -> Option<Permit> {
        self.opening.take()
    }
}

/// Whether a deadline with this reason makes a request.
pub(super) const fn asks(reason: DeadlineReason) -> bool {
    match reason {
        DeadlineReason::NextAttestation | DeadlineReason::RetryBackoff => true,
        DeadlineReason::ReplyTimeout | DeadlineReason::SilenceTimeout => false,
    }
}

impl AgentActor {
    /// How long a request that was due at `due` is put off because the verifier lacks resources; `None` when it may go, with
    /// permits taken. An agent that has to queue is woken in its turn, whatever is answered here.
    pub(super) fn no_room(&mut self, due: Timestamp, ctx: &mut Context<Self>) -> Option<Duration> {
        if self.shard.draining.get() || self.shard.writer().saturated() {
            metrics::counter!("keylime_verifier_deferred_total", "cause" => "stores").increment(1);
            return Some(STORE_DELAY);
        }
        let opens = !self.shard.transport().is_connected(&self.material.agent_id);
        let turn = &mut self.turn;
        if opens && turn.opening.is_none() {
            turn.opening = self.shard.openings.try_enter();
        }
        if turn.request.is_none() && (turn.opening.is_some() || !opens) {
            turn.request = self.shard.system.admission.try_enter();
        }
        if turn.request.is_some() && (turn.opening.is_some() || !opens) {
            turn.waiting_since = None;
            return None;
        }
        turn.end();
        metrics::counter!("keylime_verifier_deferred_total", "cause" => "requests").increment(1);
        if turn.waiting_since.replace(turn.waiting_since.unwrap_or(due)).is_none() {
            self.queue_up(opens, ctx);
        }
        Some(LONGEST_TURN)
    }

    fn queue_up(&self, opens: bool, ctx: &mut Context<Self>) {
        let requests = self.shard.system.admission.clone();
        let openings = opens.then(|| self.shard.openings.clone());
        let turn = async move {
            let opening = match openings {
                Some(openings) => openings.enter().await,
                None => None,
            };
            (requests.enter().await, opening)
        };
        ctx.spawn(turn.into_actor(self).map(|(request, opening), actor, ctx| {
            actor.handle_guarded(|actor| actor.turn_has_come(request, opening, ctx));
        }));
    }

    fn turn_has_come(&mut self, request: Option<Permit>, opening: Option<Permit>, ctx: &mut Context<Self>) {
        // An agent that got room by another way waits no more.
        let Some(since) = self.turn.waiting_since.take() else { return };
        match self.deadline.deadline() {
            Some((_, reason)) if asks(reason) => {
                (self.turn.request, self.turn.opening) = (request, opening);
                self.deadline.clear::<Self>(ctx);
                let now = self.shard.now();
                self.deadline_reached(since, reason, now, ctx);
                if self.turn.waiting_since.is_some() || self.state.as_ref().is_none_or(|state| !state.in_flight()) {
                    self.turn.end();
                }
            }
            // It is not to be asked any more.
            Some(_) | None => {}
        }
    }
}

/// Until a verifier that cannot store looks again.
const STORE_DELAY: Duration = Duration::from_secs(1);
/// An agent whose turn has not come looks again after this time; its place in the queue is kept.
const LONGEST_TURN: Duration = Duration::from_mins(1);
