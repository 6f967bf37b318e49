//! Points in time, given to the engine by its caller; nothing here reads a clock.

use std::time::Duration;

/// Milliseconds since the epoch on a scale that never runs backwards while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The point `delay` later; stays at the end of the scale when that overflows.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How much later this is than `earlier`; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The present, as two readings of one moment: deadlines follow the first, what is stored and shown follows the second.
///
/// They are apart because an operator may set the wall clock, and a clock that was set must not keep an agent from being
/// attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub at: Timestamp,
    /// Wall clock, seconds since the epoch.
    pub wall_seconds: i64,
}
