//! How long to wait before trying again (`tenant-cli.md` §3.4).

use std::time::Duration;

/// Longest delay, so that a wrong exponent cannot stall a run for days.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The n-th delay is the interval to the power of n.
    Exponential,
    /// Every delay is the interval.
    Constant,
}

/// When a failing request is repeated, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Base of the delays, in seconds.
    pub interval_seconds: f64,
    /// How delays grow.
    pub growth: Growth,
    /// Failures after which a request is given up.
    pub max_failures: u32,
}

impl RetryPolicy {
    /// The delay after a number of failures, or `None` when that many are too many.
    #[must_use]
    pub fn delay_after(&self, failures: u32) -> Option<Duration> {
        if failures >= self.max_failures {
            return None;
        }
        let exponential = self.growth == Growth::Exponential && self.interval_seconds > 1.0;
        let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
        let seconds = if exponential { self.interval_seconds.powi(exponent) } else { self.interval_seconds.abs() };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_DELAY).min(MAX_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_growing_delays_then_the_end() {
        let policy = RetryPolicy { interval_seconds: 2.0, growth: Growth::Exponential, max_failures: 5 };
        let delays: Vec<_> =
            (1..=5).map(|failures| policy.delay_after(failures).map(|delay| delay.as_secs())).collect();
        assert_eq!(delays, [Some(2), Some(4), Some(8), Some(16), None]);
    }

    #[test]
    fn small_bases_and_constant_growth_keep_the_interval() {
        for (interval_seconds, growth) in [(0.5, Growth::Exponential), (-0.5, Growth::Constant)] {
            let policy = RetryPolicy { interval_seconds, growth, max_failures: 3 };
            assert_eq!(policy.delay_after(2), Some(Duration::from_millis(500)));
        }
        let absurd = RetryPolicy { interval_seconds: 1e300, growth: Growth::Exponential, max_failures: 9 };
        assert_eq!(absurd.delay_after(8), Some(MAX_DELAY));
    }
}
