//! Sections about boot policies: `example_refstate_mutations`, `mb_bootlog_evaluate`, `mb_policy_is_valid`, `check_pcrs`.

use super::boot_log_section::{CUT, mask, verdict};
use super::{Answers, Report, Vectors, cases, text};
use base64::Engine as _;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::appraise::{BootAppraiser as _, ImaTerms, PcrContext, appraise_recorded_pcrs};
use keylime_engine::ima::{ImaOptions, ImaState, KeyringUse};
use keylime_engine::measured_boot::{BootEvaluation, BootJudge, BootOccasion, BootPolicies, ParsedBootLog};
use keylime_engine::policy::CompiledRuntimePolicy;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::verdict::Failure;
use serde_json::{Value, json};

/// Changed reference states on one log.
pub fn mutations(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (name, case) in section.as_object().into_iter().flatten() {
        report.compare(vectors, "example_refstate_mutations", name, case, mutation(vectors, case));
    }
}

/// Policies on a log, with the PCRs of the quote.
pub fn evaluations(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        report.compare(vectors, "mb_bootlog_evaluate", &id, case, evaluation(vectors, case));
    }
}

/// Whether texts are policies.
pub fn validity(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let policy = text(case, "mb_policy").unwrap_or_default();
        let compiled = BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(policy));
        let ours = json!(!policy.is_empty() && !compiled.is_invalid());
        let expected = case["policy_is_valid"].clone();
        report.compare(vectors, "mb_policy_is_valid", &id, case, Ok(Answers { expected, ours }));
    }
}

/// Quoted PCR values against everything.
pub fn pcr_stages(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        report.compare(vectors, "check_pcrs", &id, case, pcr_stage(vectors, case));
    }
}

fn mutation(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let log = vectors.file(text(case, "log").ok_or("no log")?)?;
    let log = ParsedBootLog::parse(&log).map_err(|e| e.to_string())?;
    let state = match case.get("refstate") {
        Some(state) if !state.is_null() => state.clone(),
        _ => patched(vectors, case)?,
    };
    Ok(Answers { expected: case["verdict"].clone(), ours: verdict(&state, &log) })
}

fn patched(vectors: &Vectors, case: &Value) -> Result<Value, String> {
    let base = vectors.file(text(case, "refstate_patch_of").ok_or("no refstate_patch_of")?)?;
    let mut state: Value = serde_json::from_slice(&base).map_err(|e| e.to_string())?;
    let mut whole = Vec::new();
    collect_texts(&state, &mut whole);
    for (name, value) in case["changed_keys"].as_object().into_iter().flatten() {
        state[name] = restored(value, &whole);
    }
    for name in case["removed_keys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        // Removing must not reorder what stays.
        state.as_object_mut().ok_or("the reference state is no object")?.shift_remove(name);
    }
    Ok(state)
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|element| collect_texts(element, texts)),
        Value::Object(members) => members.values().for_each(|member| collect_texts(member, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A value whose long texts were cut when they were recorded, with the texts of the original that begin alike.
fn restored(value: &Value, whole: &[String]) -> Value {
    match value {
        Value::String(text) => {
            let original = text.strip_suffix(CUT).and_then(|start| whole.iter().find(|text| text.starts_with(start)));
            json!(original.unwrap_or(text))
        }
        Value::Array(list) => list.iter().map(|element| restored(element, whole)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), restored(member, whole))).collect())
        }
        other => other.clone(),
    }
}

/// A policy text: in a file, in the case itself, or none.
fn policy_text(vectors: &Vectors, case: &Value) -> Result<Option<String>, String> {
    match text(case, "mb_policy") {
        None => Ok(None),
        Some(path) if path.ends_with(".json") => vectors.text(path).map(Some),
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn evaluation(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let name = text(case, "policy_name").unwrap_or(BootPolicies::EXAMPLE);
    let policies = BootPolicies::built_in(name);
    if case.get("exception").is_some() {
        // Recorded without its text, which is no JSON.
        let invalid = policies.compile(Some("{")).is_invalid();
        let ours = if invalid { json!("exception") } else { json!("evaluated") };
        return Ok(Answers { expected: json!("exception"), ours });
    }
    let log = vectors.file(text(case, "log").unwrap_or("eventlogs/sb_base.bin"))?;
    let log = ParsedBootLog::parse(&log).map_err(|e| e.to_string())?;
    let policy = policies.compile(policy_text(vectors, case)?.as_deref());
    let failure = policy.evaluate(Some(&log), mask(&case["pcrs_in_quote"]));
    let ours: Vec<String> = failure.into_iter().map(|f| Failure::MeasuredBoot(f).event_id()).collect();
    Ok(Answers { expected: case["failures"].clone(), ours: json!(ours) })
}

fn pcr_stage(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let expected = match text(case, "expected") {
        Some("exception") => json!("exception"),
        _ => case["failures"].clone(),
    };
    let tpm_policy = match TpmPolicy::parse(text(case, "tpm_policy").unwrap_or("{}")) {
        Ok(policy) => policy,
        Err(error) => return Ok(Answers { expected, ours: json!({ "refused": error.to_string() }) }),
    };
    let runtime_policy = match text(case, "runtime_policy") {
        None => CompiledRuntimePolicy::empty(),
        Some(path) => CompiledRuntimePolicy::compile(&vectors.text(path)?).map_err(|e| e.to_string())?,
    };
    // A list is a file; a list that is empty or not worth one is in the case.
    let list = |value: &str| if value.contains('/') { vectors.text(value) } else { Ok(value.to_owned()) };
    let ima_list = text(case, "ima").map(list).transpose()?;
    let boot_log = text(case, "mb_log").map(|path| vectors.file(path)).transpose()?;
    let boot_log = boot_log.map(|log| base64::engine::general_purpose::STANDARD.encode(log));
    let name = text(case, "measured_boot_policy_name").unwrap_or(BootPolicies::ACCEPT_ALL);
    let boot_policy = BootPolicies::built_in(name).compile(policy_text(vectors, case)?.as_deref());
    let evaluation = BootEvaluation::from_option(text(case, "measured_boot_evaluate").unwrap_or("once"));
    let occasion = match case["attestation_count"].as_i64() {
        Some(count) if count < 0 => BootOccasion::OneShot,
        Some(count) => BootOccasion::after(count.unsigned_abs()),
        None => BootOccasion::First,
    };
    let judge = BootJudge::new(&boot_policy, &evaluation, occasion);
    let stage = judge.read(boot_log.as_deref(), HashAlgorithm::Sha256);
    let context = PcrContext {
        tpm_policy: &tpm_policy,
        requested: PcrMask::EMPTY,
        payload_key: text(case, "data").filter(|_| case["skip_data_pcr_check"] != true),
        ima_list: ima_list.as_deref(),
        ima_state: &ImaState::default(),
        ima: ImaTerms {
            policy: &runtime_policy,
            keyring: None,
            keyring_use: KeyringUse::Ignored,
            options: ImaOptions::default(),
        },
        boot: Some(&*stage),
    };
    let failures = appraise_recorded_pcrs(&quoted(&case["quote_pcrs_sha256"])?, &context).failures;
    let ours: Vec<String> = failures.iter().map(Failure::event_id).collect();
    Ok(Answers { expected, ours: json!(ours) })
}

fn quoted(values: &Value) -> Result<PcrBank, String> {
    let values = values.as_object().into_iter().flatten().map(|(pcr, value)| {
        let bytes = hex::decode(value.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        Ok((pcr.parse::<u8>().map_err(|e| e.to_string())?, Digest::from_slice(&bytes)))
    });
    Ok(PcrBank::from_values(HashAlgorithm::Sha256, values.collect::<Result<Vec<_>, String>>()?))
}
