//! The one deadline of an actor, with as few timer operations as possible.

use actix::{Actor, AsyncContext, SpawnHandle};
use keylime_engine::lifecycle::deadline::DeadlineReason;
use keylime_engine::time::Timestamp;

/// Holds at most one deadline and at most one timer.
///
/// The timer is re-armed lazily: when the deadline moves to later, the timer stays and is armed again for the remainder
/// when it fires; only a deadline that moves to earlier costs a cancellation.
#[derive(Debug, Default)]
pub struct DeadlineSlot {
    deadline: Option<(Timestamp, DeadlineReason)>,
    timer: Option<(Timestamp, SpawnHandle)>,
}

/// What a fired timer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// The deadline has come.
    Due {
        /// When it should have come.
        at: Timestamp,
        /// Why it was set.
        reason: DeadlineReason,
    },
    /// It has not; the timer was armed again if there is one.
    NotYet,
}

impl DeadlineSlot {
    /// Replaces the deadline. `wake` is when the timer may fire at the latest: a time before `at` at which the deadline is
    /// likely to have moved to, so that moving it there costs nothing; else `at` itself.
    pub fn set<A>(
        &mut self,
        (at, reason): (Timestamp, DeadlineReason),
        wake: Timestamp,
        now: Timestamp,
        ctx: &mut A::Context,
        fire: fn(&mut A, &mut A::Context),
    ) where
        A: Actor,
        A::Context: AsyncContext<A>,
    {
        self.deadline = Some((at, reason));
        match self.timer {
            Some((armed, _)) if armed <= at => {}
            Some((_, handle)) => {
                ctx.cancel_future(handle);
                self.arm(at.min(wake), now, ctx, fire);
            }
            None => self.arm(at.min(wake), now, ctx, fire),
        }
    }

    /// Removes the deadline and its timer.
    pub fn clear<A>(&mut self, ctx: &mut A::Context)
    where
        A: Actor,
        A::Context: AsyncContext<A>,
    {
        self.deadline = None;
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
    }

    /// To be called when the timer fires.
    pub fn fired<A>(&mut self, now: Timestamp, ctx: &mut A::Context, fire: fn(&mut A, &mut A::Context)) -> Fired
    where
        A: Actor,
        A::Context: AsyncContext<A>,
    {
        self.timer = None;
        match self.deadline {
            None => Fired::NotYet,
            Some((at, reason)) if at <= now => {
                self.deadline = None;
                Fired::Due { at, reason }
            }
            Some((at, _)) => {
                self.arm(at, now, ctx, fire);
                Fired::NotYet
            }
        }
    }

    /// The deadline and its reason.
    #[must_use]
    pub fn deadline(&self) -> Option<(Timestamp, DeadlineReason)> {
        self.deadline
    }

    fn arm<A>(&mut self, at: Timestamp, now: Timestamp, ctx: &mut A::Context, fire: fn(&mut A, &mut A::Context))
    where
        A: Actor,
        A::Context: AsyncContext<A>,
    {
        let handle = ctx.run_later(at.since(now), fire);
        self.timer = Some((at, handle));
    }
}
