//! A push agent that attests more seldom than it may be silent would time out again and again: operators are told.

use crate::ports::AgentRecord;
use keylime_engine::lifecycle::PushSettings;
use serde_json::Value;
use std::time::Duration;

/// The option of push agents, and the member of an agent's metadata by which enrolment announces it, seconds.
const ANNOUNCED: &str = "attestation_interval_seconds";

/// The interval an agent's metadata announces.
#[must_use]
pub fn announced_interval(meta_data: &str) -> Option<Duration> {
    let meta: Value = serde_json::from_str(meta_data).ok()?;
    let seconds = match meta.get(ANNOUNCED)? {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// Warns when the announced interval is longer than the agent may be silent; true when it did.
pub fn warn_of_long_interval(record: &AgentRecord, settings: &PushSettings) -> bool {
    let Some(announced) = announced_interval(&record.meta_data).filter(|announced| *announced > settings.silence())
    else {
        return false;
    };
    metrics::counter!("keylime_verifier_long_interval_warnings_total").increment(1);
    tracing::warn!(target: "keylime.verifier", agent_id = %record.agent_id, announced_seconds = announced.as_secs(),
        timeout_seconds = settings.silence().as_secs(),
        "the agent announces a longer attestation interval than it may be silent (five times quote_interval): it will \
         time out between attestations");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_read_from_the_metadata() {
        assert_eq!(announced_interval(r#"{"attestation_interval_seconds": 60}"#), Some(Duration::from_secs(60)));
        assert_eq!(announced_interval(r#"{"attestation_interval_seconds": "5"}"#), Some(Duration::from_secs(5)));
        for text in
            ["", "{}", "[]", r#"{"attestation_interval_seconds": -1}"#, r#"{"attestation_interval_seconds": []}"#]
        {
            assert_eq!(announced_interval(text), None, "{text}");
        }
    }
}
