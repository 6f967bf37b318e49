//! A boot log, read, replayed and rendered for policies.

use super::event_json;
use super::event_log::{EventLog, LogError};
use super::event_type::EventType;
use super::failure::{MAX_NAMED_EVENTS, MeasuredBootFailure, PcrMismatch};
use super::replay::ReplayedPcrs;
use crate::algorithm::{Digest, HashAlgorithm};
use serde_json::Value;

/// A boot log that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedBootLog {
    json: Value,
    pcrs: ReplayedPcrs,
    /// For each event after the header: its number and PCR, if it is one that extends it.
    extending: Vec<(usize, u8)>,
}

impl ParsedBootLog {
    /// Reads a binary log.
    ///
    /// # Errors
    /// [`LogError`] at the first event that cannot be read.
    pub fn parse(log: &[u8]) -> Result<Self, LogError> {
        let log = EventLog::parse(log)?;
        let pcrs = ReplayedPcrs::of(&log);
        let json = event_json::render(&log, &pcrs)?;
        let extending = log.events.iter().filter(|event| event.event_type != EventType::NO_ACTION);
        Ok(Self { json, pcrs, extending: extending.map(|event| (event.number, event.pcr)).collect() })
    }

    /// The log as policies see it: `version`, `events`, `pcrs`, `boot_aggregates`.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The events as policies see them, the header first.
    #[must_use]
    pub fn events(&self) -> &[Value] {
        self.json["events"].as_array().map_or(&[], Vec::as_slice)
    }

    /// What the log replays to.
    #[must_use]
    pub fn pcrs(&self) -> &ReplayedPcrs {
        &self.pcrs
    }

    /// What is wrong with a log that is to be compared with a quote of this bank.
    #[must_use]
    pub fn fit_for(&self, bank: HashAlgorithm) -> Option<MeasuredBootFailure> {
        if self.pcrs.banks().next().is_none() {
            return Some(MeasuredBootFailure::NoPcrs);
        }
        (!self.pcrs.banks().any(|known| known == bank)).then_some(MeasuredBootFailure::NoPcrsInBank(bank))
    }

    /// Compares a quoted value with the replayed one; a PCR that no event extends is zero.
    #[must_use]
    pub fn compare(&self, bank: HashAlgorithm, pcr: u8, quoted: &Digest) -> Option<PcrMismatch> {
        let zero = Digest::filled(0, bank.digest_len());
        let replayed = self.pcrs.get(bank, pcr).unwrap_or(&zero);
        let (quoted, replayed) = (without_leading_zeros(quoted), without_leading_zeros(replayed));
        if quoted == replayed {
            return None;
        }
        let mut events: Vec<usize> =
            self.extending.iter().filter(|(_, extended)| *extended == pcr).map(|(number, _)| *number).collect();
        let event_count = events.len();
        events.truncate(MAX_NAMED_EVENTS);
        Some(PcrMismatch { pcr, bank, quoted, replayed, events, event_count })
    }
}

/// The values are compared as numbers.
fn without_leading_zeros(digest: &Digest) -> String {
    let text = digest.to_hex();
    text.trim_start_matches('0').to_owned()
}

#[cfg(test)]
mod tests;
