//! The message that tells of a failed attestation (`revocation-and-severity.md` §5).
//!
//! Two layers of JSON: the inner object as text, and an outer object that carries that text with its signature. Receivers
//! verify the text as they get it, so its spelling is fixed here: the order of members, Python's separators and escapes,
//! and C's `asctime` for the time. `schema/revocation-message.schema.json` describes both layers for consumers.

use super::python_json::{self, Layout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// Why a notice is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationKind {
    /// The agent's evidence failed.
    Revocation,
    /// The agent stopped answering after it had been attested.
    CommError,
}

impl RevocationKind {
    /// Keylime's word.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Revocation => "revocation",
            Self::CommError => "comm_error",
        }
    }
}

/// The inner object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the members of revocation-and-severity.md §5")]
pub struct RevocationMessage {
    #[serde(rename = "type")]
    pub kind: RevocationKind,
    pub ip: Option<String>,
    pub agent_id: String,
    pub port: Option<i32>,
    /// JSON text as it is stored.
    pub tpm_policy: String,
    /// Text as it is stored.
    pub meta_data: String,
    /// [`asctime`] of local time.
    pub event_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_label: Option<String>,
    /// JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl RevocationMessage {
    /// The text that is signed.
    ///
    /// # Errors
    /// Never in practice: every member can be written as JSON.
    pub fn to_signed_text(&self) -> serde_json::Result<String> {
        python_json::to_string(self, Layout::Compact)
    }
}

/// The outer object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRevocation {
    /// The inner object as text.
    pub msg: String,
    /// Base64 of an RSA-PSS signature (SHA-256, MGF1 with SHA-256, salt of maximum length) over the bytes of `msg`, or empty
    /// when the agent was enrolled without a revocation key.
    pub signature: String,
}

impl SignedRevocation {
    /// The text that travels.
    ///
    /// # Errors
    /// Never in practice: both members are texts.
    pub fn to_text(&self) -> serde_json::Result<String> {
        python_json::to_string(self, Layout::Compact)
    }
}

/// A failure's context as the text that the message carries.
///
/// # Errors
/// Never in practice: the keys of a JSON value are texts.
pub fn context_text(context: &Value) -> serde_json::Result<String> {
    python_json::to_string(context, Layout::Compact)
}

/// A time as C's `asctime` writes it (ISO C 7.27.3.1), without the line feed.
#[must_use]
pub fn asctime(time: OffsetDateTime) -> String {
    let weekday = WEEKDAYS[usize::from(time.weekday().number_days_from_monday())];
    let month = MONTHS[usize::from(u8::from(time.month())) - 1];
    let (day, year) = (time.day(), time.year());
    format!("{weekday} {month}{day:3} {:02}:{:02}:{:02} {year}", time.hour(), time.minute(), time.second())
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    /// Bodies that Keylime 7.14.3 sent.
    fn captured() -> Vec<String> {
        let data: Value = serde_json::from_str(include_str!("../../tests/data/revocation_messages.json")).unwrap();
        data["bodies"].as_array().unwrap().iter().map(|body| body.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn spells_every_byte_as_the_reference() {
        let bodies = captured();
        assert_eq!(bodies.len(), 3);
        for body in bodies {
            let outer: SignedRevocation = serde_json::from_str(&body).unwrap();
            assert_eq!(outer.to_text().unwrap(), body);
            let inner: RevocationMessage = serde_json::from_str(&outer.msg).unwrap();
            assert_eq!(inner.to_signed_text().unwrap(), outer.msg);
            let context: Value = serde_json::from_str(inner.context.as_deref().unwrap()).unwrap();
            assert_eq!(context_text(&context).unwrap(), inner.context.unwrap());
        }
    }

    #[test]
    fn a_notice_without_an_event_lacks_its_three_members() {
        let message = RevocationMessage {
            kind: RevocationKind::CommError,
            ip: None,
            agent_id: "a".to_owned(),
            port: None,
            tpm_policy: "{}".to_owned(),
            meta_data: "{}".to_owned(),
            event_time: asctime(datetime!(2026-11-03 01:02:03 UTC)),
            event_id: None,
            severity_label: None,
            context: None,
        };
        assert_eq!(
            message.to_signed_text().unwrap(),
            "{\"type\": \"comm_error\", \"ip\": null, \"agent_id\": \"a\", \"port\": null, \"tpm_policy\": \"{}\", \
             \"meta_data\": \"{}\", \"event_time\": \"Tue Nov  3 01:02:03 2026\"}"
        );
    }

    #[test]
    fn asctime_pads_the_day_with_a_space() {
        assert_eq!(asctime(datetime!(2026-11-23 11:20:40 UTC)), "Mon Nov 23 11:20:40 2026");
        assert_eq!(asctime(datetime!(2027-01-01 00:00:00 +2)), "Fri Jan  1 00:00:00 2027");
    }

    #[test]
    fn the_schema_file_names_exactly_the_members() {
        let schema: Value = serde_json::from_str(include_str!("../../revocation-message.schema.json")).unwrap();
        let members = |at: &Value| -> Vec<String> {
            let mut names: Vec<String> = at["properties"].as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(members(&schema), ["msg", "signature"]);
        let expected = [
            "agent_id",
            "context",
            "event_id",
            "event_time",
            "ip",
            "meta_data",
            "port",
            "severity_label",
            "tpm_policy",
            "type",
        ];
        assert_eq!(members(&schema["$defs"]["message"]), expected);
    }
}
