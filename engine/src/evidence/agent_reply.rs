//! What an agent's HTTP answers amount to (`verifier-state-machine.md` §4, §8).

use crate::lifecycle::{QuoteReply, ShareReply, VersionReply};
use serde::Deserialize;
use serde_json::Value;

/// The text by which an agent says that it does not speak a version.
const VERSION_NOT_SUPPORTED: &str = "API version not supported";

/// Most versions looked at in an offer; agents know fewer than ten.
const MAX_OFFERS: usize = 64;

enum Meaning {
    Good,
    TryAgain,
    VersionUnsupported,
    Refused,
    Unreadable(String),
}

fn meaning(status: u16, body: &[u8]) -> Meaning {
    match status {
        200 => Meaning::Good,
        408 | 500 | 599 => Meaning::TryAgain,
        400 => match serde_json::from_slice::<Value>(body) {
            Ok(document) => match document.get("status").and_then(Value::as_str) {
                Some(text) if text.contains(VERSION_NOT_SUPPORTED) => Meaning::VersionUnsupported,
                Some(_) | None => Meaning::Refused,
            },
            Err(error) => Meaning::Unreadable(format!("unreadable answer with status 400: {error}")),
        },
        _ => Meaning::Refused,
    }
}

/// Classifies the answer to a quote request.
#[must_use]
pub fn classify_quote_reply(status: u16, body: &[u8]) -> QuoteReply {
    match meaning(status, body) {
        Meaning::Good => QuoteReply::Evidence,
        Meaning::TryAgain => QuoteReply::Unreachable,
        Meaning::VersionUnsupported => QuoteReply::VersionUnsupported,
        Meaning::Refused => QuoteReply::Refused(status),
        Meaning::Unreadable(reason) => QuoteReply::Unreadable(reason),
    }
}

/// Classifies the answer to the delivery of a key share.
#[must_use]
pub fn classify_share_reply(status: u16, body: &[u8]) -> ShareReply {
    match meaning(status, body) {
        Meaning::Good => ShareReply::Accepted,
        Meaning::TryAgain => ShareReply::Unreachable,
        Meaning::VersionUnsupported => ShareReply::VersionUnsupported,
        Meaning::Refused => ShareReply::Refused(status),
        Meaning::Unreadable(reason) => ShareReply::Unusable(reason),
    }
}

#[derive(Deserialize)]
struct VersionEnvelope {
    results: VersionResults,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VersionResults {
    supported_version: Option<String>,
    supported_versions: Option<Vec<String>>,
}

/// Classifies the answer to `GET /version`.
#[must_use]
pub fn classify_version_reply(status: u16, body: &[u8]) -> VersionReply {
    if status != 200 {
        return VersionReply::Refused(format!("the agent answered the version request with status {status}"));
    }
    let results = match serde_json::from_slice::<VersionEnvelope>(body) {
        Ok(envelope) => envelope.results,
        Err(error) => return VersionReply::Refused(format!("unreadable list of versions: {error}")),
    };
    let mut offers = results.supported_versions.unwrap_or_else(|| results.supported_version.into_iter().collect());
    offers.truncate(MAX_OFFERS);
    VersionReply::Offers(offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_keylime_takes_them_for() {
        assert_eq!(classify_quote_reply(200, b""), QuoteReply::Evidence);
        for status in [408, 500, 599] {
            assert_eq!(classify_quote_reply(status, b""), QuoteReply::Unreachable);
            assert_eq!(classify_share_reply(status, b""), ShareReply::Unreachable);
        }
        for status in [201, 204, 301, 404, 405, 502, 503] {
            assert_eq!(classify_quote_reply(status, b"{}"), QuoteReply::Refused(status));
        }
        let old = br#"{"code":400,"status":"API version not supported: v2.9","results":{}}"#;
        assert_eq!(classify_quote_reply(400, old), QuoteReply::VersionUnsupported);
        assert_eq!(classify_share_reply(400, old), ShareReply::VersionUnsupported);
        assert_eq!(classify_quote_reply(400, br#"{"status":"bad nonce"}"#), QuoteReply::Refused(400));
        assert!(matches!(classify_quote_reply(400, b"<html>"), QuoteReply::Unreadable(_)));
    }

    #[test]
    fn versions_come_as_a_list_or_as_one() {
        let offers = |body: &str| classify_version_reply(200, body.as_bytes());
        assert_eq!(
            offers(r#"{"results":{"supported_version":"2.4","supported_versions":["2.1","2.4"]}}"#),
            VersionReply::Offers(vec!["2.1".into(), "2.4".into()])
        );
        assert_eq!(offers(r#"{"results":{"supported_version":"2.2"}}"#), VersionReply::Offers(vec!["2.2".into()]));
        assert!(matches!(offers(r#"{"results":{"supported_versions":[2]}}"#), VersionReply::Refused(_)));
        assert!(matches!(classify_version_reply(404, b""), VersionReply::Refused(_)));
    }
}
