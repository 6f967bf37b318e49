//! When a crashed actor is built anew, and when it is left alone.

use keylime_engine::time::Timestamp;
use smallvec::SmallVec;
use std::time::Duration;

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCrash {
    /// Build a fresh actor after this delay.
    Restart(Duration),
    /// It crashed too often: leave it alone until the tenant reactivates it.
    Quarantine,
}

/// The recent crashes of one agent's actor.
#[derive(Debug, Clone, Default)]
pub struct RestartHistory {
    crashes: SmallVec<[Timestamp; 4]>,
}

impl RestartHistory {
    /// Records a crash and says what follows: 1 s, 5 s and 30 s of delay, then quarantine when more than three crashes
    /// fell into ten minutes.
    pub fn crashed(&mut self, now: Timestamp) -> AfterCrash {
        self.crashes.retain(|at| now.since(*at) < WINDOW);
        self.crashes.push(now);
        match self.crashes.len().checked_sub(1).and_then(|n| DELAYS.get(n)) {
            Some(delay) => AfterCrash::Restart(*delay),
            None => AfterCrash::Quarantine,
        }
    }
}

const WINDOW: Duration = Duration::from_mins(10);
const DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_crash_in_ten_minutes_quarantines() {
        let mut history = RestartHistory::default();
        let seconds = |n| AfterCrash::Restart(Duration::from_secs(n));
        assert_eq!(history.crashed(Timestamp(0)), seconds(1));
        assert_eq!(history.crashed(Timestamp(10_000)), seconds(5));
        assert_eq!(history.crashed(Timestamp(20_000)), seconds(30));
        assert_eq!(history.crashed(Timestamp(60_000)), AfterCrash::Quarantine);
    }

    #[test]
    fn old_crashes_are_forgotten() {
        let mut history = RestartHistory::default();
        for n in 0..20 {
            let after = history.crashed(Timestamp(n * 600_000));
            assert_eq!(after, AfterCrash::Restart(Duration::from_secs(1)));
        }
    }
}
