//! The event log as policies see it: one JSON object, members in a fixed order.
//!
//! Follows `measured-boot.md` §3 to §5. Where the reference's own tools fail on an event, the log fails here, with the event
//! named.

mod boot_option;
mod event_data;
mod partition_table;
mod scalar;
mod signature_list;
mod variable;

pub use scalar::unescape;

use super::event_log::{Event, EventLog, LogError, LogFormat, LogProblem, SpecIdEvent};
use super::event_type::EventType;
use super::replay::ReplayedPcrs;
use crate::algorithm::HashAlgorithm;
use serde_json::{Map, Number, Value, json};

/// The JSON of a log; `pcrs` and `boot_aggregates` come from `replayed`.
///
/// # Errors
/// [`LogError`] at the first event that the reference's tools cannot print or read back.
pub fn render(log: &EventLog<'_>, replayed: &ReplayedPcrs) -> Result<Value, LogError> {
    let LogFormat::CryptoAgile(header) = &log.format else {
        return Err(LogError { event: 0, offset: 0, problem: LogProblem::Sha1Format });
    };
    let mut events = Vec::with_capacity(log.events.len() + 1);
    events.push(header_json(header).map_err(|problem| LogError { event: 0, offset: 0, problem })?);
    for event in &log.events {
        let rendered = event_json(event);
        events.push(rendered.map_err(|problem| LogError { event: event.number, offset: event.offset, problem })?);
    }
    let aggregates = replayed.boot_aggregates().into_iter().map(|(bank, values)| {
        (bank.name().to_owned(), values.iter().map(|value| Value::String(value.to_hex())).collect())
    });
    let mut top = Map::with_capacity(4);
    top.insert("version".to_owned(), json!(2));
    top.insert("events".to_owned(), Value::Array(events));
    top.insert("pcrs".to_owned(), pcrs_json(replayed));
    top.insert("boot_aggregates".to_owned(), Value::Object(aggregates.collect()));
    Ok(Value::Object(top))
}

/// PCR values are numbers in this object. They do not fit the numbers that JSON readers commonly have, so a policy should
/// compare digests.
fn pcrs_json(replayed: &ReplayedPcrs) -> Value {
    let banks = replayed.banks().map(|bank| {
        let values = replayed.values(bank).map(|(pcr, value)| {
            let number = value.as_bytes().iter().fold(0.0_f64, |sum, byte| sum.mul_add(256.0, f64::from(*byte)));
            (pcr.to_string(), Number::from_f64(number).map_or(Value::Null, Value::Number))
        });
        (bank.name().to_owned(), Value::Object(values.collect()))
    });
    Value::Object(banks.collect())
}

fn header_json(header: &SpecIdEvent<'_>) -> Result<Value, LogProblem> {
    let signature = scalar::plain(scalar::until_nul(header.signature)).map_err(|problem| LogProblem::Text {
        event_type: EventType::NO_ACTION,
        field: "Signature",
        problem,
    })?;
    let algorithms = header.algorithms.iter().enumerate().map(|(index, (algorithm, size))| {
        let mut entry = Map::with_capacity(3);
        entry.insert(format!("Algorithm[{index}]"), Value::Null);
        entry.insert("algorithmId".to_owned(), json!(algorithm_name(*algorithm)));
        entry.insert("digestSize".to_owned(), json!(size));
        Value::Object(entry)
    });
    let mut spec_id = json!({
        "Signature": signature,
        "platformClass": header.platform_class,
        "specVersionMinor": header.version_minor,
        "specVersionMajor": header.version_major,
        "specErrata": header.errata,
        "uintnSize": header.uintn_size,
        "numberOfAlgorithms": header.algorithms.len(),
        "Algorithms": algorithms.collect::<Vec<_>>(),
        "vendorInfoSize": header.vendor_info.len(),
    });
    if !header.vendor_info.is_empty() {
        spec_id["vendorInfo"] = json!(hex::encode(header.vendor_info));
    }
    Ok(json!({
        "EventNum": 0,
        "PCRIndex": 0,
        "EventType": EventType::NO_ACTION.name(),
        "Digest": "0".repeat(2 * HashAlgorithm::Sha1.digest_len()),
        "EventSize": header.size,
        "SpecID": [spec_id],
    }))
}

fn event_json(event: &Event<'_>) -> Result<Value, LogProblem> {
    let digests: Vec<Value> = event
        .digests
        .iter()
        .map(|digest| {
            let mut entry = Map::with_capacity(2);
            entry.insert("AlgorithmId".to_owned(), Value::String(algorithm_name(digest.algorithm).to_owned()));
            entry.insert("Digest".to_owned(), Value::String(hex::encode(digest.digest)));
            Value::Object(entry)
        })
        .collect();
    let mut out = Map::with_capacity(7);
    out.insert("EventNum".to_owned(), Value::from(event.number));
    out.insert("PCRIndex".to_owned(), Value::from(event.pcr));
    out.insert("EventType".to_owned(), Value::String(event.event_type.name().to_owned()));
    out.insert("DigestCount".to_owned(), Value::from(digests.len()));
    out.insert("Digests".to_owned(), if digests.is_empty() { Value::Null } else { Value::Array(digests) });
    out.insert("EventSize".to_owned(), Value::from(event.data.len()));
    if !event.data.is_empty() {
        out.insert("Event".to_owned(), event_data::render(event)?);
    }
    Ok(Value::Object(out))
}

/// The name of a digest's algorithm. Those after SM3 have a name, but their digests are not read.
fn algorithm_name(algorithm: u16) -> &'static str {
    match HashAlgorithm::from_tpm_id(algorithm) {
        Some(known) => known.name(),
        None => match algorithm {
            0x27 => "sha3_256",
            0x28 => "sha3_384",
            0x29 => "sha3_512",
            _ => "(null)",
        },
    }
}

#[cfg(test)]
mod tests;
