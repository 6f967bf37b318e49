//! Addressing of notices on a topic exchange, and their CloudEvents attributes (CloudEvents 1.0, AMQP binding §3.1: binary
//! mode, each attribute a header with the prefix `cloudEvents:`).

use crate::ports::OutboxRow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The durable topic exchange.
pub const EXCHANGE: &str = "keylime.revocations";

/// The routing key `<type>.<severity>.<agent id>`; dots inside a part are written `%2E`, so that a key always has three
/// words and a subscriber can bind to `revocation.*.*` or to one agent.
///
/// AMQP allows 255 bytes. Only an id of nearly nothing but dots, or an overlong severity label, needs more; the key is cut
/// then, because an agent must not be able to choose an id whose revocation cannot be published. The whole id is in the
/// headers and the body.
#[must_use]
pub fn routing_key(row: &OutboxRow) -> String {
    let word = |text: &str| text.replace('.', "%2E");
    let mut severity = word(&row.severity_label);
    cut(&mut severity, LONGEST_SEVERITY);
    let mut key = format!("{}.{severity}.{}", word(&row.kind), word(row.agent_id.as_str()));
    cut(&mut key, LONGEST_ROUTING_KEY);
    key
}

fn cut(text: &mut String, bytes: usize) {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

/// CloudEvents attributes of a notice, by header name.
#[must_use]
pub fn cloud_event_headers(row: &OutboxRow, source: &str) -> Vec<(&'static str, String)> {
    let created = OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.created_us) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default();
    vec![
        ("cloudEvents:specversion", "1.0".to_owned()),
        ("cloudEvents:id", row.id.to_string()),
        ("cloudEvents:source", source.to_owned()),
        ("cloudEvents:type", format!("keylime.{}", row.kind)),
        ("cloudEvents:subject", row.agent_id.to_string()),
        ("cloudEvents:time", created),
        ("cloudEvents:dataschema", "urn:keylime:revocation-message:1".to_owned()),
    ]
}

/// A short string of AMQP 0-9-1.
const LONGEST_ROUTING_KEY: usize = 255;
/// Leaves room for the third word.
const LONGEST_SEVERITY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::ids::AgentId;
    use uuid::Uuid;

    fn row(agent_id: &str, severity_label: &str) -> OutboxRow {
        OutboxRow {
            id: Uuid::nil(),
            agent_id: AgentId::parse(agent_id).unwrap(),
            kind: "revocation".to_owned(),
            severity_label: severity_label.to_owned(),
            body: String::new(),
            created_us: 1_000_000,
            pending: Vec::new(),
        }
    }

    #[test]
    fn a_key_has_three_words_whatever_the_names_hold() {
        let key = |agent_id: &str, severity: &str| routing_key(&row(agent_id, severity));
        assert_eq!(key("host.example.org", "emergency"), "revocation.emergency.host%2Eexample%2Eorg");
        assert_eq!(key("a", "very.high"), "revocation.very%2Ehigh.a");
        for long in
            [key(&".".repeat(80), "emergency"), key("a", &"ä".repeat(250)), key(&".".repeat(80), &".".repeat(99))]
        {
            assert!(long.len() <= LONGEST_ROUTING_KEY);
            assert_eq!(long.split('.').count(), 3, "{long}");
        }
    }

    #[test]
    fn headers_carry_the_event_id_that_consumers_dedupe_by() {
        let headers = cloud_event_headers(&row("a", "emergency"), "/keylime/verifier/default");
        assert!(headers.contains(&("cloudEvents:id", Uuid::nil().to_string())));
        assert!(headers.contains(&("cloudEvents:time", "1970-01-01T00:00:01Z".to_owned())));
        assert!(headers.contains(&("cloudEvents:type", "keylime.revocation".to_owned())));
    }
}
