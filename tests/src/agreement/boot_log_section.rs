//! Sections about boot logs: `eventlogs` and `event_json_quirks_*`.

use super::{Answers, Report, Vectors, text};
use base64::Engine as _;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::appraise::BootAppraiser as _;
use keylime_engine::measured_boot::reference_state::{self, Flavour, Options, SecureBootRule};
use keylime_engine::measured_boot::{
    BootEvaluation, BootJudge, BootOccasion, BootPolicies, CompiledBootPolicy, MeasuredBootFailure, ParsedBootLog,
};
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::verdict::Failure;
use serde_json::{Map, Value, json};

/// The log that the quirks are differences from.
const BASE: &str = "sb_base";

/// Logs: parse failures, PCRs, boot aggregates, event JSON, verdicts and reference states.
pub fn logs(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (name, case) in section.as_object().into_iter().flatten() {
        report.compare(vectors, "eventlogs", name, case, log_answers(vectors, name, case));
    }
}

/// Events that `sb_base` does not have, as current tools show them.
pub fn current_events(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (name, case) in section.as_object().into_iter().flatten() {
        report.compare(vectors, "event_json_quirks_tools58", name, case, event_answers(vectors, name, case));
    }
}

/// Events that `sb_base` does not have, as tools before 5.6 show them.
pub fn former_events(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (name, case) in section.as_object().into_iter().flatten() {
        report.compare(vectors, "event_json_quirks_tools54", name, case, event_answers(vectors, name, case));
    }
}

fn log_answers(vectors: &Vectors, name: &str, case: &Value) -> Result<Answers, String> {
    let log = vectors.file(text(case, "file").ok_or("no file")?)?;
    if case.get("exception").is_some() {
        let failures = judged_failures(&log);
        let ours = if failures.is_empty() { json!("accepted") } else { json!({ "refused": failures }) };
        return Ok(Answers { expected: json!("exception"), ours });
    }
    let mut expected = Map::new();
    let mut ours = Map::new();
    for key in [
        "parse_failures",
        "bootlog_parse_failures_sha256",
        "events",
        "pcrs",
        "boot_aggregates",
        "create_refstate",
        "create_refstate_i",
        "refstate_sha256",
        "own_refstate_verdict",
    ] {
        if let Some(value) = case.get(key) {
            expected.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["example_with_ref_sb_base", "own_refstate_i_verdict"] {
        if let Some(verdict) = case.get(key) {
            expected.insert(key.to_owned(), verdict["verdict"].clone());
        }
    }
    let parsed = ParsedBootLog::parse(&log);
    let failures = parsed.as_ref().err().map(|error| MeasuredBootFailure::Malformed(error.clone()));
    ours.insert("parse_failures".to_owned(), failures.into_iter().map(event_id).collect());
    ours.insert("bootlog_parse_failures_sha256".to_owned(), json!(judged_failures(&log)));
    let created = [SecureBootRule::Required, SecureBootRule::MayBeOff]
        .map(|secure_boot| reference_state::create(&log, Options { flavour: Flavour::KeylimePolicy, secure_boot }));
    for (key, created) in ["create_refstate", "create_refstate_i"].into_iter().zip(&created) {
        ours.insert(key.to_owned(), if created.is_ok() { json!("ok") } else { Value::Null });
    }
    if let Ok(parsed) = &parsed {
        describe(parsed, &mut ours);
        let base = vectors.file("mb/refstate_sb_base.json")?;
        let base = serde_json::from_slice(&base).map_err(|e| e.to_string())?;
        ours.insert("example_with_ref_sb_base".to_owned(), verdict(&base, parsed));
        if let Ok(created) = &created[1] {
            ours.insert("refstate_sha256".to_owned(), json!(sorted_digest(&created.state)));
            ours.insert("own_refstate_verdict".to_owned(), verdict(&created.state, parsed));
            ours.insert("own_refstate_i_verdict".to_owned(), verdict(&created.state, parsed));
            compare_files(vectors, name, case, (parsed, &created.to_python_json()), (&mut expected, &mut ours));
        }
    }
    ours.retain(|key, _| expected.contains_key(key));
    Ok(Answers { expected: Value::Object(expected), ours: Value::Object(ours) })
}

fn event_id(failure: MeasuredBootFailure) -> String {
    Failure::MeasuredBoot(failure).event_id()
}

/// The failures of a log that an agent sends, before any policy.
fn judged_failures(log: &[u8]) -> Vec<String> {
    let policy = CompiledBootPolicy::absent();
    let judge = BootJudge::new(&policy, &BootEvaluation::Once, BootOccasion::First);
    let log = base64::engine::general_purpose::STANDARD.encode(log);
    let stage = judge.read(Some(&log), HashAlgorithm::Sha256);
    stage.log_failures().iter().cloned().map(event_id).collect()
}

fn describe(log: &ParsedBootLog, ours: &mut Map<String, Value>) {
    ours.insert("events".to_owned(), json!(log.events().len()));
    let pcrs = log.pcrs();
    let banks = pcrs.banks().map(|bank| {
        let values = pcrs.values(bank).map(|(pcr, value)| (pcr.to_string(), json!(value.to_hex())));
        (bank.name().to_owned(), Value::Object(values.collect()))
    });
    ours.insert("pcrs".to_owned(), Value::Object(banks.collect()));
    ours.insert("boot_aggregates".to_owned(), log.json()["boot_aggregates"].clone());
}

/// The verdict of policy `example`.
pub fn verdict(state: &Value, log: &ParsedBootLog) -> Value {
    match BootPolicies::built_in(BootPolicies::EXAMPLE).check_state(state, log) {
        Ok(()) => json!("accept"),
        Err(_) => json!("reject"),
    }
}

/// The digest of a state whose members are sorted by name.
fn sorted_digest(state: &Value) -> String {
    let sorted = reference_state::python_json(&sorted(state));
    HashAlgorithm::Sha256.digest(&[sorted.as_bytes()]).to_hex()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> =
                members.iter().map(|(name, member)| (name.clone(), sorted(member))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The whole event JSON and the reference state, where the vectors have them in files.
fn compare_files(
    vectors: &Vectors,
    name: &str,
    case: &Value,
    (log, state): (&ParsedBootLog, &str),
    (expected, ours): (&mut Map<String, Value>, &mut Map<String, Value>),
) {
    if let Ok(file) = vectors.file(&format!("mb/parsed_{name}.tools5.8.json")) {
        let recorded: Value = serde_json::from_slice(&file).unwrap_or_default();
        // Texts, so that the order of members counts. PCR values are beyond the numbers of a JSON reader.
        expected.insert("event_json".to_owned(), json!(recorded["events"].to_string()));
        ours.insert("event_json".to_owned(), json!(log.json()["events"].to_string()));
    }
    if let Some(file) = text(case, "refstate_file").and_then(|path| vectors.text(path).ok()) {
        expected.insert("refstate".to_owned(), json!(file));
        ours.insert("refstate".to_owned(), json!(state));
    }
}

fn event_answers(vectors: &Vectors, name: &str, case: &Value) -> Result<Answers, String> {
    Ok(Answers { expected: case.clone(), ours: like_cut(case, &new_events(vectors, name)?) })
}

/// The events of a log that `sb_base` does not have, whatever their number.
pub fn new_events(vectors: &Vectors, name: &str) -> Result<Value, String> {
    let events = |name: &str| {
        let log = vectors.file(&format!("eventlogs/{name}.bin"))?;
        ParsedBootLog::parse(&log).map(|log| log.events().to_vec()).map_err(|e| e.to_string())
    };
    let numberless = |event: &Value| {
        let mut event = event.clone();
        event["EventNum"] = Value::Null;
        event
    };
    let base: Vec<Value> = events(BASE)?.iter().map(numberless).collect();
    Ok(events(name)?.into_iter().filter(|event| !base.contains(&numberless(event))).collect())
}

/// Long texts were cut when they were recorded: takes the recorded form of a text that begins like it.
pub fn like_cut(recorded: &Value, ours: &Value) -> Value {
    match (recorded, ours) {
        (Value::String(recorded), Value::String(text)) => {
            let same = recorded.strip_suffix(CUT).is_some_and(|beginning| text.starts_with(beginning));
            json!(if same { recorded } else { text })
        }
        (Value::Array(recorded), Value::Array(list)) if recorded.len() == list.len() => {
            recorded.iter().zip(list).map(|(recorded, ours)| like_cut(recorded, ours)).collect()
        }
        (Value::Object(recorded), Value::Object(members)) => {
            let like = |(name, ours): (&String, &Value)| {
                (name.clone(), recorded.get(name).map_or_else(|| ours.clone(), |recorded| like_cut(recorded, ours)))
            };
            Value::Object(members.iter().map(like).collect())
        }
        _ => ours.clone(),
    }
}

/// What ends a text that was cut.
pub const CUT: &str = "...<cut>...";

/// All PCRs a quote may have.
pub fn mask(pcrs: &Value) -> PcrMask {
    let numbers = pcrs.as_array().into_iter().flatten().filter_map(Value::as_u64);
    PcrMask::of(numbers.filter_map(|number| u8::try_from(number).ok()))
}
