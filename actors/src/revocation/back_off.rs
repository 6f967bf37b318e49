//! Waiting times between attempts: exponential, bounded, with full jitter so that nothing wakes together.

use std::time::Duration;

/// Bounds of the waiting times.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackOff {
    /// Before the second attempt.
    pub(super) first: Duration,
    /// Never longer than this.
    pub(super) longest: Duration,
}

impl BackOff {
    /// The time to wait after `failures` failed attempts: a random share, at least half, of the exponential step.
    pub(super) fn after(self, failures: u32) -> Duration {
        let step = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(u32::MAX));
        let mut random = [0; 2];
        // Without randomness everything waits the longest time: late is safe here.
        let share = match aws_lc_rs::rand::fill(&mut random) {
            Ok(()) => u32::from(u16::from_be_bytes(random)),
            Err(_) => u32::from(u16::MAX),
        };
        let step = step.min(self.longest);
        step / 2 + step * share / (2 * u32::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_stays_within_half_of_the_step() {
        let back_off = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
        for (failures, step) in [(1, 200), (2, 400), (5, 3200), (8, 25_600), (9, 30_000), (60, 30_000)] {
            let waited = back_off.after(failures).as_millis();
            assert!((step / 2..=step).contains(&waited), "{failures}: {waited}");
        }
    }
}
