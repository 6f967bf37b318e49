//! Bounds on work in flight.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits for requests to agents: they bound sockets, memory and stampedes after an outage.
#[derive(Debug, Clone)]
pub struct Admission {
    permits: Arc<Semaphore>,
}

/// A permit; returned when dropped.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// At most `limit` permits at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// A permit, if one is free; never waits.
    #[must_use]
    pub fn try_enter(&self) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok().map(|permit| Permit { _permit: permit })
    }

    /// Free permits.
    #[must_use]
    pub fn free(&self) -> usize {
        self.permits.available_permits()
    }
}
