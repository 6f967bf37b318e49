//! The clock adapter; nothing else in this crate reads a clock.

use crate::ports::Clock;
use keylime_engine::evidence::attestation::WallMicros;
use keylime_engine::time::{Now, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The machine's clock. Deadlines follow the monotonic clock, anchored at the wall clock of the start.
#[derive(Debug)]
pub struct SystemClock {
    anchor_millis: u64,
    started: Instant,
}

impl SystemClock {
    /// Anchors the clock now.
    #[must_use]
    pub fn new() -> Self {
        Self { anchor_millis: wall_millis(), started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            at: Timestamp(self.anchor_millis.saturating_add(elapsed)),
            wall_seconds: i64::try_from(wall_millis() / 1000).unwrap_or(i64::MAX),
        }
    }

    fn wall_micros(&self) -> WallMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

fn wall_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A clock that follows tokio's, so that paused time is paused everywhere. For tests and simulations.
#[derive(Debug)]
pub struct TokioClock {
    anchor_millis: u64,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// Starts at `anchor_millis` since the epoch.
    #[must_use]
    pub fn starting_at(anchor_millis: u64) -> Self {
        Self { anchor_millis, started: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Now {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let millis = self.anchor_millis.saturating_add(elapsed);
        Now { at: Timestamp(millis), wall_seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX) }
    }
}
