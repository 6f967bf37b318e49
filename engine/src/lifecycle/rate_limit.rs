//! How often something may be done: a sliding window, and a block that doubles each time the window is found full
//! (`verifier-v3-push.md` §3).

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Length of the first block, in seconds.
const FIRST_BLOCK_SECONDS: u64 = 60;
/// Length of the longest block, in seconds.
const LONGEST_BLOCK_SECONDS: u64 = 3600;

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times within one window; none is allowed when zero.
    pub limit: u32,
    /// The window.
    pub window: Duration,
}

/// Refused; the client may try again after this many seconds, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub u64);

/// When something was done, as far back as the window reaches.
#[derive(Debug, Clone, Default)]
pub struct SlidingWindow {
    taken: VecDeque<Timestamp>,
}

impl SlidingWindow {
    /// Takes a place if one is free.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.forget(rate, now);
        let free = (self.taken.len() as u64) < u64::from(rate.limit);
        if free {
            self.taken.push_back(now);
        }
        free
    }

    /// Gives back the place taken at this moment, if the window still holds it.
    pub fn give_back(&mut self, taken: Timestamp) {
        // In order, save for clocks of different threads; one place is as good as another.
        if let Ok(at) = self.taken.binary_search(&taken) {
            self.taken.remove(at);
        }
    }

    /// Whether the window holds nothing any more.
    pub fn is_idle(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.forget(rate, now);
        self.taken.is_empty()
    }

    fn forget(&mut self, rate: Rate, now: Timestamp) {
        while self.taken.front().is_some_and(|taken| now.since(*taken) >= rate.window) {
            self.taken.pop_front();
        }
    }
}

/// A window with a block.
#[derive(Debug, Clone, Default)]
pub struct RateLimit {
    window: SlidingWindow,
    blocked_until: Option<Timestamp>,
    blocks: u32,
}

impl RateLimit {
    /// Lets something be done, or says when it may be tried again. What is refused does not count; a full window starts a
    /// block, each twice as long as the one before.
    ///
    /// # Errors
    /// [`RetryAfter`]: the whole block where it starts, the rest of it, rounded down, while it goes on.
    pub fn admit(&mut self, rate: Rate, now: Timestamp) -> Result<(), RetryAfter> {
        if let Some(until) = self.blocked_until {
            if now < until {
                return Err(RetryAfter(until.since(now).as_secs()));
            }
            self.blocked_until = None;
        }
        if self.window.take(rate, now) {
            return Ok(());
        }
        let seconds = block_seconds(self.blocks);
        self.blocks = self.blocks.saturating_add(1);
        self.blocked_until = Some(now.after(Duration::from_secs(seconds)));
        Err(RetryAfter(seconds))
    }

    /// Gives back what was admitted at this moment.
    pub fn give_back(&mut self, admitted: Timestamp) {
        self.window.give_back(admitted);
    }

    /// Whether forgetting this limit would let nobody do more than before, but for the length of the next block.
    pub fn is_idle(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.blocked_until.is_none_or(|until| now >= until) && self.window.is_idle(rate, now)
    }
}

fn block_seconds(earlier_blocks: u32) -> u64 {
    let doubled = 1_u64.checked_shl(earlier_blocks).unwrap_or(u64::MAX);
    FIRST_BLOCK_SECONDS.saturating_mul(doubled).min(LONGEST_BLOCK_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn seconds(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    const fn rate(limit: u32, window: u64) -> Rate {
        Rate { limit, window: Duration::from_secs(window) }
    }

    #[test]
    fn the_answer_to_the_first_request_over_the_limit_is_the_whole_block() {
        let mut limit = RateLimit::default();
        for _ in 0..15 {
            assert_eq!(limit.admit(rate(15, 60), seconds(0)), Ok(()));
        }
        assert_eq!(limit.admit(rate(15, 60), seconds(0)), Err(RetryAfter(60)));
        assert_eq!(limit.admit(rate(15, 60), Timestamp(1)), Err(RetryAfter(59)));
        assert_eq!(limit.admit(rate(15, 60), Timestamp(59_999)), Err(RetryAfter(0)));
        assert_eq!(limit.admit(rate(15, 60), seconds(60)), Ok(()));
    }

    #[test]
    fn a_window_longer_than_the_block_blocks_again_for_longer() {
        let mut limit = RateLimit::default();
        assert_eq!(limit.admit(rate(1, 100_000), seconds(0)), Ok(()));
        let mut now = 0;
        for expected in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(limit.admit(rate(1, 100_000), seconds(now)), Err(RetryAfter(expected)));
            now += expected;
        }
        assert_eq!(block_seconds(u32::MAX), LONGEST_BLOCK_SECONDS);
    }

    #[test]
    fn a_place_that_is_given_back_is_free_again() {
        let mut limit = RateLimit::default();
        assert_eq!(limit.admit(rate(1, 60), seconds(0)), Ok(()));
        limit.give_back(seconds(0));
        limit.give_back(seconds(0));
        assert_eq!(limit.admit(rate(1, 60), seconds(1)), Ok(()));
        assert!(limit.admit(rate(1, 60), seconds(1)).is_err());
    }

    #[test]
    fn zero_allows_nothing_and_an_empty_window_everything() {
        assert_eq!(RateLimit::default().admit(rate(0, 60), seconds(0)), Err(RetryAfter(60)));
        let mut limit = RateLimit::default();
        for _ in 0..100 {
            assert_eq!(limit.admit(rate(1, 0), seconds(0)), Ok(()));
        }
        assert!(limit.is_idle(rate(1, 0), seconds(0)));
    }

    proptest! {
        #[test]
        fn no_window_ever_admits_more_than_its_limit(
            limit in 1_u32..6,
            window in 1_u64..200,
            steps in proptest::collection::vec(0_u64..40_000, 1..200),
        ) {
            let rate = rate(limit, window);
            let mut state = RateLimit::default();
            let mut admitted: Vec<Timestamp> = Vec::new();
            let mut now = Timestamp(0);
            for step in steps {
                now = Timestamp(now.0 + step);
                if state.admit(rate, now).is_ok() {
                    admitted.push(now);
                    let inside = admitted.iter().filter(|at| now.since(**at) < rate.window).count();
                    prop_assert!(inside <= limit as usize);
                }
            }
        }
    }
}
