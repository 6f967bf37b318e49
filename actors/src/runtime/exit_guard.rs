//! Tells the supervisor that an actor is gone, and whether it ended on purpose.

use std::cell::Cell;

/// How an actor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It stopped itself.
    Stopped,
    /// A handler panicked, or the actor was dropped while it was running.
    Crashed,
}

/// A value inside an actor whose drop reports the end. A handler that is entered and never left means a panic.
pub struct ExitGuard {
    phase: Cell<GuardPhase>,
    report: Option<Box<dyn FnOnce(Exit)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GuardPhase {
    Idle,
    InHandler,
    StopMeant,
}

impl ExitGuard {
    /// A guard that calls `report` when it is dropped. The report must not panic: it may run while a panic unwinds.
    pub fn new(report: impl FnOnce(Exit) + 'static) -> Self {
        Self { phase: Cell::new(GuardPhase::Idle), report: Some(Box::new(report)) }
    }

    /// Marks the entry of a handler; false when an earlier handler panicked or the actor is about to stop, and then the
    /// handler must do nothing: actix polls a context once more while it is dropped.
    #[must_use]
    pub fn enter(&self) -> bool {
        if self.phase.get() != GuardPhase::Idle {
            return false;
        }
        self.phase.set(GuardPhase::InHandler);
        true
    }

    /// Marks the end of a handler.
    pub fn leave(&self) {
        if self.phase.get() == GuardPhase::InHandler {
            self.phase.set(GuardPhase::Idle);
        }
    }

    /// Marks that the actor is going to stop on purpose.
    pub fn stop_meant(&self) {
        self.phase.set(GuardPhase::StopMeant);
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let exit = match self.phase.get() {
            GuardPhase::StopMeant => Exit::Stopped,
            GuardPhase::Idle | GuardPhase::InHandler => Exit::Crashed,
        };
        if let Some(report) = self.report.take() {
            report(exit);
        }
    }
}
