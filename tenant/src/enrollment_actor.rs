//! The actor system that enrolments run in.
//!
//! One actor per enrolment owns its step machine. A step runs in a future of its own that takes machine and effects along
//! and brings them back with what came of it, so that no state is held across a wait.

use std::future::Future;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, System, WrapFuture as _};
use tokio::sync::oneshot;

use crate::enrollment::Enrollment;
use crate::enrollment_effects::EnrollmentEffects;
use crate::enrollment_step::{Event, Step};
use crate::error::TenantError;

/// Runs a future to its end inside a new actor system on this thread.
pub fn run<F: Future>(future: F) -> F::Output {
    System::new().block_on(future)
}

/// Enrols an agent; must be awaited inside [`run`].
///
/// # Errors
/// The enrolment failed.
pub async fn enrol(machine: Enrollment, effects: EnrollmentEffects) -> Result<(), TenantError> {
    let (outcome, result) = oneshot::channel();
    EnrollmentActor { work: Some(Box::new(Work { machine, effects })), outcome: Some(outcome) }.start();
    result.await.unwrap_or_else(|_| Err(TenantError::refused("the enrolment ended without a result")))
}

/// What travels between the actor and the step under way.
struct Work {
    machine: Enrollment,
    effects: EnrollmentEffects,
}

struct EnrollmentActor {
    /// Here between steps, away during one.
    work: Option<Box<Work>>,
    outcome: Option<oneshot::Sender<Result<(), TenantError>>>,
}

impl Actor for EnrollmentActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.proceed(Ok(Event::Started), context);
    }
}

impl EnrollmentActor {
    /// Hands what came of a step to the machine and starts the next one.
    fn proceed(&mut self, event: Result<Event, TenantError>, context: &mut Context<Self>) {
        let Some(mut work) = self.work.take() else { return };
        let verifier = work.effects.verifier_name();
        let step = event.and_then(|event| work.machine.advance(event, &verifier));
        let step = match step {
            Ok(Step::Done) => return self.finish(Ok(()), context),
            Err(error) => return self.finish(Err(error), context),
            Ok(step) => step,
        };
        let performing = async move {
            let event = work.effects.perform(step, &work.machine).await;
            (work, event)
        };
        context.spawn(performing.into_actor(self).map(|(work, event), actor, context| {
            actor.work = Some(work);
            actor.proceed(event, context);
        }));
    }

    fn finish(&mut self, result: Result<(), TenantError>, context: &mut Context<Self>) {
        if let Some(outcome) = self.outcome.take() {
            // The receiver is gone only if nobody waits for the result any more.
            let _ = outcome.send(result);
        }
        context.stop();
    }
}
