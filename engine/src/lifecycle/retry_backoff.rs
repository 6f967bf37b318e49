//! How long to wait before trying an unreachable agent again (`verifier-state-machine.md` §3).

use std::time::Duration;

/// Keylime's retry rule: `retry_interval` raised to the number of the attempt, or constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBackoff {
    /// `retry_interval`, seconds.
    pub base_seconds: f64,
    /// How the delay grows.
    pub growth: Growth,
}

/// Whether delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// `exponential_backoff = True`; has an effect only for bases above one second.
    Exponential,
    /// Every delay is the same.
    Constant,
}

impl RetryBackoff {
    /// The delay before attempt `attempt` (1 is the first retry), without jitter. At most [`LONGEST_DELAY`].
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        let seconds = match self.growth {
            Growth::Exponential if self.base_seconds > 1.0 => {
                self.base_seconds.powi(i32::try_from(attempt).unwrap_or(i32::MAX))
            }
            Growth::Exponential | Growth::Constant => self.base_seconds.abs(),
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_DELAY).min(LONGEST_DELAY)
    }

    /// The delay with up to a tenth added, so that agents which were lost together are not asked again together. It never
    /// comes out shorter than [`RetryBackoff::delay`]: an operator's `retry_interval` is a promise to the agent.
    #[must_use]
    pub fn jittered_delay(&self, attempt: u32, entropy: u8) -> Duration {
        let delay = self.delay(attempt);
        delay + delay.mul_f64(f64::from(entropy) / 2560.0)
    }

    /// The sum of all delays of a series of `retries` attempts, without jitter.
    #[must_use]
    pub fn total(&self, retries: u32) -> Duration {
        let mut total = Duration::ZERO;
        for attempt in 1..=retries.min(10_000) {
            total = total.saturating_add(self.delay(attempt));
            if total > LONGEST_DELAY * 7 {
                break;
            }
        }
        total
    }
}

/// No delay is longer, however many retries are configured.
pub const LONGEST_DELAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_doubles() {
        let backoff = RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential };
        let seconds: Vec<u64> = (1..=5).map(|n| backoff.delay(n).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32]);
        assert_eq!(backoff.total(5).as_secs(), 62);
    }

    #[test]
    fn bases_up_to_one_second_and_constant_growth_do_not_grow() {
        for (base_seconds, growth, expected) in [
            (0.5, Growth::Exponential, 500),
            (1.0, Growth::Exponential, 1000),
            (-3.0, Growth::Exponential, 3000),
            (7.0, Growth::Constant, 7000),
        ] {
            let backoff = RetryBackoff { base_seconds, growth };
            assert_eq!(backoff.delay(4).as_millis(), expected);
        }
    }

    #[test]
    fn absurd_settings_stay_bounded() {
        for base_seconds in [f64::MAX, f64::INFINITY, f64::NAN, 1e9] {
            for growth in [Growth::Exponential, Growth::Constant] {
                assert!(RetryBackoff { base_seconds, growth }.delay(u32::MAX) <= LONGEST_DELAY);
            }
        }
    }

    #[test]
    fn jitter_only_lengthens_and_by_less_than_a_tenth() {
        let backoff = RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential };
        for entropy in 0..=255 {
            let delay = backoff.jittered_delay(3, entropy);
            assert!(delay >= Duration::from_secs(8) && delay < Duration::from_millis(8800));
        }
    }
}
