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
/// # Errors
/// When the key is longer than AMQP allows (255 bytes), which only an overlong severity label can cause.
pub fn routing_key(row: &OutboxRow) -> Result<String, String> {
    let word = |text: &str| text.replace('.', "%2E");
    let key = format!("{}.{}.{}", word(&row.kind), word(&row.severity_label), word(row.agent_id.as_str()));
    if key.len() > LONGEST_ROUTING_KEY {
        return Err(format!("routing key has {} bytes, amqp allows {LONGEST_ROUTING_KEY}", key.len()));
    }
    Ok(key)
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
        assert_eq!(
            routing_key(&row("host.example.org", "emergency")).unwrap(),
            "revocation.emergency.host%2Eexample%2Eorg"
        );
        assert_eq!(routing_key(&row("a", "very.high")).unwrap(), "revocation.very%2Ehigh.a");
        assert!(routing_key(&row("a", &"x".repeat(250))).is_err());
        assert!(routing_key(&row(&".".repeat(80), "emergency")).unwrap().len() <= LONGEST_ROUTING_KEY);
    }

    #[test]
    fn headers_carry_the_event_id_that_consumers_dedupe_by() {
        let headers = cloud_event_headers(&row("a", "emergency"), "/keylime/verifier/default");
        assert!(headers.contains(&("cloudEvents:id", Uuid::nil().to_string())));
        assert!(headers.contains(&("cloudEvents:time", "1970-01-01T00:00:01Z".to_owned())));
        assert!(headers.contains(&("cloudEvents:type", "keylime.revocation".to_owned())));
    }
}
