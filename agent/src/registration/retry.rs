//! When a request to the registrar is sent again, and how long the agent waits before: pure rules.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::configuration::settings::BackoffSettings;

/// Longest wait a `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The connection or the transfer failed.
    Transport,
    /// The server answered with this status and this `Retry-After`.
    Answered {
        /// HTTP status.
        status: u16,
        /// Wait the server asks for.
        retry_after: Option<Duration>,
    },
}

/// The wait before sending again, or nothing when the outcome of attempt number `attempt` (from 0) is final.
///
/// A `Retry-After` counts on any answer but a success; without one only failures that pass by themselves are retried,
/// after a wait that doubles.
#[must_use]
pub fn wait_before_retry(outcome: &Attempt, attempt: u32, backoff: &BackoffSettings) -> Option<Duration> {
    if attempt >= backoff.max_retries {
        return None;
    }
    match outcome {
        Attempt::Transport => Some(backoff_delay(attempt, backoff)),
        Attempt::Answered { status: 200..=299, .. } => None,
        Attempt::Answered { retry_after: Some(wait), .. } => Some((*wait).min(MAX_RETRY_AFTER)),
        Attempt::Answered { status: 408 | 429 | 500..=599, retry_after: None } => Some(backoff_delay(attempt, backoff)),
        Attempt::Answered { retry_after: None, .. } => None,
    }
}

fn backoff_delay(attempt: u32, backoff: &BackoffSettings) -> Duration {
    let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
    backoff.initial_delay.saturating_mul(factor).min(backoff.max_delay)
}

/// Reads a `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3).
#[must_use]
pub fn parse_retry_after(header: &str, now: OffsetDateTime) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    // The date form of HTTP differs from RFC 2822 in the name of the zone only.
    let date = OffsetDateTime::parse(&header.trim().replace("GMT", "+0000"), &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const BACKOFF: BackoffSettings =
        BackoffSettings { initial_delay: Duration::from_secs(10), max_retries: 3, max_delay: Duration::from_secs(30) };

    #[test]
    fn waits_double_up_to_the_limit_and_end() {
        let waits = (0..5).map(|n| wait_before_retry(&Attempt::Transport, n, &BACKOFF).map(|wait| wait.as_secs()));
        assert_eq!(waits.collect::<Vec<_>>(), [Some(10), Some(20), Some(30), None, None]);
    }

    #[test]
    fn only_passing_failures_are_retried_unless_the_server_asks() {
        let answered = |status, retry_after| wait_before_retry(&Attempt::Answered { status, retry_after }, 0, &BACKOFF);
        let second = Some(Duration::from_secs(1));
        for status in [408, 429, 500, 503] {
            assert!(answered(status, None).is_some(), "{status}");
            assert_eq!(answered(status, second), second, "{status}");
        }
        for status in [200, 400, 403, 404] {
            assert_eq!(answered(status, None), None, "{status}");
        }
        assert_eq!(answered(403, second), second);
        assert_eq!(answered(200, second), None);
        assert_eq!(answered(503, Some(Duration::MAX)), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = datetime!(2026-11-23 12:00:00 UTC);
        assert_eq!(parse_retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Mon, 23 Nov 2026 12:00:05 GMT", now), Some(Duration::from_secs(5)));
        assert_eq!(parse_retry_after("Mon, 23 Nov 2026 11:00:05 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
    }
}
