//! The rejection of a log by a policy, as it leaves the engine.

use super::reason::Reason;
use crate::measured_boot::parsed_log::ParsedBootLog;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// A policy's answer to a log that does not satisfy it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRejection {
    /// Name of the policy.
    pub policy: String,
    /// The reference state, as far as failures quote it.
    pub reference_state: Arc<str>,
    /// Why, without the events.
    pub reason: String,
    /// The events it is about, at most [`MAX_EVENTS`] of them; none when it is about the reference state or about an event
    /// that is missing.
    pub events: Vec<EventLabel>,
}

/// What identifies an event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLabel {
    /// Its number.
    pub number: u64,
    /// Its PCR.
    pub pcr: u64,
    /// Its type.
    pub event_type: String,
    /// What it measures, in a few words: a variable, a file or a text.
    pub subject: Option<String>,
    /// Its first digest with the name of the algorithm.
    pub digest: Option<String>,
}

/// Most events named.
const MAX_EVENTS: usize = 8;
/// Longest name of what an event measures.
const MAX_SUBJECT_CHARACTERS: usize = 120;
/// How much of a reference state a failure quotes.
const MAX_STATE_BYTES: usize = 4096;

impl PolicyRejection {
    pub(super) fn new(policy: &str, reference_state: Arc<str>, reason: &Reason, log: Option<&ParsedBootLog>) -> Self {
        let label = |number: &u64| EventLabel::of(log?.events().iter().find(|event| event["EventNum"] == *number)?);
        let labels = reason.events().iter().take(MAX_EVENTS).filter_map(label).collect();
        Self { policy: policy.to_owned(), reference_state, reason: reason.to_string(), events: labels }
    }

    /// One sentence for people: which event, what was found and what would make it pass.
    #[must_use]
    pub fn detail(&self) -> String {
        let digests: Vec<&str> = self.events.iter().filter_map(|event| event.digest.as_deref()).collect();
        let remedy = match digests.as_slice() {
            _ if self.policy == super::BootPolicies::REJECT_ALL => {
                "choose another policy with measured_boot_policy_name".to_owned()
            }
            [] => "compare the reference state with one made from a log of this machine".to_owned(),
            [digest] => format!("if {digest} is what should have been measured, bring it into the reference state"),
            digests => format!(
                "if {} are what should have been measured, bring them into the reference state",
                digests.join(", ")
            ),
        };
        format!("boot policy {} rejects the log: {self}; {remedy}", self.policy)
    }
}

impl fmt::Display for PolicyRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, event) in self.events.iter().enumerate() {
            write!(f, "{}{event}", if index == 0 { "" } else { ", " })?;
        }
        if !self.events.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(self.reason.trim_start())
    }
}

impl EventLabel {
    fn of(event: &Value) -> Option<Self> {
        let content = &event["Event"];
        let subject = [&content["UnicodeName"], &content["String"], &content["DevicePath"], content];
        let subject = subject.into_iter().find_map(Value::as_str).filter(|text| !text.is_empty());
        let digest = &event["Digests"][0];
        let digest = || Some(format!("{}:{}", digest["AlgorithmId"].as_str()?, digest["Digest"].as_str()?));
        Some(Self {
            number: event["EventNum"].as_u64()?,
            pcr: event["PCRIndex"].as_u64()?,
            event_type: event["EventType"].as_str()?.to_owned(),
            subject: subject.map(|text| text.chars().take(MAX_SUBJECT_CHARACTERS).collect()),
            digest: digest(),
        })
    }
}

impl fmt::Display for EventLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} (PCR {}, {}", self.number, self.pcr, self.event_type)?;
        if let Some(subject) = &self.subject {
            write!(f, ", {subject:?}")?;
        }
        f.write_str(")")
    }
}

/// The beginning of a reference state, which may be too large to be quoted.
pub(super) fn shortened(text: &str) -> Arc<str> {
    if text.len() <= MAX_STATE_BYTES {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_STATE_BYTES)]).into()
}
