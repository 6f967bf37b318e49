//! Sections `dm` and `dm_parse`: device-mapper events.

use super::{Answers, Report, Vectors, cases, text};
use keylime_engine::ima::device_mapper::grammar::parse_event;
use keylime_engine::ima::device_mapper::{
    DeviceMapperFailure, DeviceMapperPolicy, DeviceMapperState, EventKind, TableHash,
};
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_engine::ima::template::Extra;
use serde_json::{Value, json};

/// Events against policies.
pub fn events(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let policy = match read_policy(vectors, case) {
            Ok(policy) => policy,
            Err(problem) => {
                report.compare(vectors, "dm", &id, case, Err(problem));
                continue;
            }
        };
        let mut state = DeviceMapperState::default();
        for (number, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
            let answers = event(vectors, step, &policy, &mut state);
            report.compare(vectors, "dm", &format!("{id} step {number}"), step, answers);
        }
    }
}

/// Events by themselves.
pub fn grammar(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let answers = read_entry(vectors, case).map(|(kind, data, _)| {
            let text = String::from_utf8_lossy(&data).into_owned();
            let ours = match parse_event(kind, &text) {
                Ok(event) => json!({ "event": kind.name(), "parsed": event }),
                Err(error) => json!({ "refused": error.to_string() }),
            };
            let expected = match case.get("parsed") {
                Some(parsed) => json!({ "event": case["event"], "parsed": parsed }),
                None => json!("exception"),
            };
            Answers { expected, ours }
        });
        report.compare(vectors, "dm_parse", &id, case, answers);
    }
}

fn read_policy(vectors: &Vectors, case: &Value) -> Result<DeviceMapperPolicy, String> {
    let text = vectors.file(text(case, "policy").ok_or("no policy")?)?;
    let policy: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    DeviceMapperPolicy::from_json(&policy).map_err(|e| e.to_string())
}

fn read_entry(vectors: &Vectors, case: &Value) -> Result<(EventKind, Vec<u8>, TableHash), String> {
    let line = vectors.text(text(case, "entry").ok_or("no entry")?)?;
    let mut reader = EntryReader::default();
    let entry = reader.read(line.trim_end_matches('\n')).map_err(|e| e.to_string())?;
    let Extra::Buffer(range) = &entry.extra else { return Err("no ima-buf entry".to_owned()) };
    let kind = EventKind::from_name(entry.name).ok_or("no device-mapper event")?;
    let logged = TableHash { algorithm: entry.algorithm.to_owned(), digest: entry.digest().to_vec() };
    Ok((kind, entry.part(range).to_vec(), logged))
}

fn event(
    vectors: &Vectors,
    step: &Value,
    policy: &DeviceMapperPolicy,
    state: &mut DeviceMapperState,
) -> Result<Answers, String> {
    let (kind, data, logged) = read_entry(vectors, step)?;
    let ids = |failures: &[DeviceMapperFailure]| -> Vec<String> {
        failures.iter().map(|failure| format!("ima.validation.dm.{}", failure.id())).collect()
    };
    let failures = ids(&state.take_event(policy, kind, &data, logged));
    let devices = state.devices().map(|(key, device)| {
        let hash = &device.active_table_hash;
        let value = json!({
            "policy_name": device.policy_name,
            "active": device.active,
            "valid_state": device.valid,
            "active_table_hash": { "algorithm": hash.algorithm, "hash": hex::encode(&hash.digest) },
            "inactive_table_hash": null,
            "num_targets": device.num_targets,
            "allow_multiple_loads": device.allow_multiple_loads,
        });
        (key.to_owned(), value)
    });
    let ours = json!({
        "failures": failures,
        "invalid_after": ids(&state.invalid(policy)),
        "devices_after": Value::Object(devices.collect()),
    });
    let expected = json!({
        "failures": step["failures"],
        "invalid_after": step["invalid_after"],
        "devices_after": step["devices_after"],
    });
    Ok(Answers { expected, ours })
}
