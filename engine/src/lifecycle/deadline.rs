//! When an agent has to be looked at next, why, and how first deadlines are spread.

use crate::time::Timestamp;
use std::time::Duration;

/// Why a deadline was set; travels with it into logs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadlineReason {
    /// The next quote is due.
    NextAttestation,
    /// A request to the agent should have been answered by then.
    ReplyTimeout,
    /// An unreachable agent is tried again.
    RetryBackoff,
    /// A push agent should have sent evidence by then.
    SilenceTimeout,
}

impl DeadlineReason {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NextAttestation => "next_attestation",
            Self::ReplyTimeout => "reply_timeout",
            Self::RetryBackoff => "retry_backoff",
            Self::SilenceTimeout => "silence_timeout",
        }
    }
}

/// When the next quote is due, given when the last one was due and that it has been judged now.
///
/// Counting from due time to due time keeps the spread that the agents were started with. An agent whose TPM is slow is
/// left alone for at least a quarter of the interval, so that attestation never occupies it entirely.
#[must_use]
pub fn next_attestation(last_due: Timestamp, now: Timestamp, interval: Duration) -> Timestamp {
    last_due.after(interval).max(now.after(interval / 4))
}

/// Spreads the first deadlines of a fleet evenly over `window`, by a stable hash of the agent's id.
#[must_use]
pub fn splay(id_hash: u64, window: Duration) -> Duration {
    let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    // The upper half of the product is uniform over 0..window without a division.
    let scaled = (u128::from(id_hash) * u128::from(window)) >> 64;
    Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// FNV-1a over a text with a final mix: a hash that is the same in every process and release, for sharding and splay.
#[must_use]
pub fn stable_hash(text: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cadence_does_not_drift() {
        let interval = Duration::from_secs(2);
        let due = next_attestation(Timestamp(10_000), Timestamp(10_030), interval);
        assert_eq!(due, Timestamp(12_000));
    }

    #[test]
    fn a_slow_agent_rests_a_quarter_of_the_interval() {
        let interval = Duration::from_secs(2);
        assert_eq!(next_attestation(Timestamp(10_000), Timestamp(13_000), interval), Timestamp(13_500));
        assert_eq!(next_attestation(Timestamp(10_000), Timestamp(10_005), Duration::ZERO), Timestamp(10_005));
    }

    #[test]
    fn splay_stays_inside_its_window_and_spreads() {
        let window = Duration::from_secs(60);
        let mut buckets = [0_u32; 6];
        for n in 0..6000 {
            let delay = splay(stable_hash(&format!("agent-{n:05}")), window);
            assert!(delay < window);
            buckets[usize::try_from(delay.as_secs() / 10).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|&n| (850..=1150).contains(&n)), "{buckets:?}");
    }
}
