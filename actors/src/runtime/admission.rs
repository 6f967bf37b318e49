//! Bounds on work in flight.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits for requests to agents: they bound sockets, memory and stampedes after an outage.
#[derive(Debug, Clone)]
pub struct Admission {
    permits: Arc<Semaphore>,
    limit: usize,
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
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// A permit, if one is free; never waits.
    #[must_use]
    pub fn try_enter(&self) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok().map(|permit| Permit { _permit: permit })
    }

    /// A permit, as soon as one is free; waiters are served in order.
    pub async fn enter(&self) -> Option<Permit> {
        Arc::clone(&self.permits).acquire_owned().await.ok().map(|permit| Permit { _permit: permit })
    }

    /// Permits in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.limit - self.permits.available_permits()
    }
}
