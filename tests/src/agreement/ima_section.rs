//! Sections `ima` and `ima_sequences`: measurement lists.

use super::{Answers, Report, Vectors, cases, text};
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ima::{
    ImaAppraisal, ImaContext, ImaFailure, ImaOptions, ImaState, Keyring, KeyringUse, appraise_with,
};
use keylime_engine::policy::CompiledRuntimePolicy;
use serde_json::{Map, Value, json};

/// Lists with fresh state.
pub fn lists(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        report.compare(vectors, "ima", &id, case, list(vectors, case));
    }
}

/// Lists that continue each other.
pub fn sequences(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let mut state = ImaState::default();
        for (number, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
            let answers = step_answers(vectors, case, step, &mut state);
            report.compare(vectors, "ima_sequences", &format!("{id} step {number}"), step, answers);
        }
    }
}

fn list(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let log = vectors.text(text(case, "log").ok_or("no log")?)?;
    let expected = expected_answer(case);
    let policy = match text(case, "policy") {
        None => CompiledRuntimePolicy::absent(),
        Some(path) => match CompiledRuntimePolicy::compile(&vectors.text(path)?) {
            Ok(policy) => policy,
            Err(refusal) => return Ok(Answers { expected, ours: json!({ "refused": refusal.to_string() }) }),
        },
    };
    let (keyring, keyrings) = match text(case, "tenant_keyring") {
        None => (None, KeyringUse::Ignored),
        Some("EMPTY") => (None, KeyringUse::Considered),
        Some(path) => (Keyring::from_json(&vectors.text(path)?).map_err(|e| e.to_string())?, KeyringUse::Considered),
    };
    let input = Input { list: &log, policy: &policy, keyring: keyring.as_ref(), keyrings };
    let ours = input.appraise(case, bank(case)?, &ImaState::default())?;
    Ok(Answers { ours: ours.map_or_else(|refusal| refusal, |appraisal| our_answer(case, &appraisal)), expected })
}

fn step_answers(vectors: &Vectors, case: &Value, step: &Value, state: &mut ImaState) -> Result<Answers, String> {
    let policy = vectors.text(text(case, "policy").ok_or("no policy")?)?;
    let policy = CompiledRuntimePolicy::compile(&policy).map_err(|e| e.to_string())?;
    let list = text(step, "text").ok_or("no text")?;
    let input = Input { list, policy: &policy, keyring: None, keyrings: KeyringUse::Considered };
    let expected = expected_answer(step);
    let ours = match input.appraise(step, bank(case)?, state)? {
        Err(refusal) => refusal,
        Ok(appraisal) => {
            state.clone_from(&appraisal.state);
            our_answer(step, &appraisal)
        }
    };
    Ok(Answers { expected, ours })
}

struct Input<'a> {
    list: &'a str,
    policy: &'a CompiledRuntimePolicy,
    keyring: Option<&'a Keyring>,
    keyrings: KeyringUse,
}

impl Input<'_> {
    /// The inner error is an answer: the input cannot even be asked about.
    fn appraise(
        &self,
        case: &Value,
        bank: HashAlgorithm,
        state: &ImaState,
    ) -> Result<Result<ImaAppraisal, Value>, String> {
        let quoted = match text(case, "pcrval").map(|value| hex::decode(value).map_err(|e| e.to_string())) {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => return Ok(Err(json!({ "refused": error }))),
        };
        let boot_aggregates = boot_aggregates(case)?;
        let context = ImaContext {
            policy: self.policy,
            tenant_keyring: self.keyring,
            bank,
            quoted_pcr10: quoted.as_deref(),
            boot_aggregates: &boot_aggregates,
            options: ImaOptions { ignore_tomtou_errors: case["ignore_tomtou_errors"] == true },
        };
        Ok(Ok(appraise_with(self.list, state, &context, self.keyrings)))
    }
}

fn bank(case: &Value) -> Result<HashAlgorithm, String> {
    text(case, "pcr_bank").and_then(HashAlgorithm::from_name).ok_or_else(|| "unknown bank".to_owned())
}

fn boot_aggregates(case: &Value) -> Result<Vec<Digest>, String> {
    let banks = case["boot_aggregates"].as_object();
    let digests = banks.into_iter().flatten().flat_map(|(_, list)| list.as_array().into_iter().flatten());
    digests
        .map(|digest| {
            let bytes = hex::decode(digest.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
            Ok(Digest::from_slice(&bytes))
        })
        .collect()
}

/// The members of a case that are answers.
fn expected_answer(case: &Value) -> Value {
    if case["expected"] == "exception" {
        return json!({ "expected": "exception" });
    }
    let mut answer = Map::new();
    for key in ["expected", "failures", "final_running_hash", "state_after", "learned_keyids"] {
        if let Some(value) = case.get(key) {
            answer.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(state) = answer.get_mut("state_after") {
        // A register that was never extended is null or zero in the reference, depending on what happened before.
        let register = state["pcr10"].as_str().unwrap_or_default();
        if register.bytes().all(|b| b == b'0') {
            state["pcr10"] = Value::Null;
        }
    }
    Value::Object(answer)
}

fn our_answer(case: &Value, appraisal: &ImaAppraisal) -> Value {
    let verdict = if appraisal.failures.is_empty() { "pass" } else { "fail" };
    let failures: Vec<String> = appraisal.failures.iter().map(event_id).collect();
    let mut answer = json!({ "expected": verdict, "failures": failures });
    if case.get("final_running_hash").is_some() {
        answer["final_running_hash"] = json!(appraisal.running.to_hex());
    }
    let state = &appraisal.state;
    if case.get("state_after").is_some() {
        let register = state.pcr10.map(|value| value.to_hex()).filter(|hex| hex.bytes().any(|b| b != b'0'));
        answer["state_after"] = json!({
            "next_ima_ml_entry": state.next_entry,
            "pcr10": register,
            "quote_progress": state.progress,
        });
    }
    if case.get("learned_keyids").is_some() {
        let rings = state.learned.iter().flat_map(|rings| rings.iter());
        let rings = rings.map(|(name, ring)| {
            let mut ids: Vec<i128> = ring.key_ids().collect();
            ids.sort_unstable();
            (name.to_owned(), json!(ids))
        });
        answer["learned_keyids"] = Value::Object(rings.collect());
    }
    answer
}

fn event_id(failure: &ImaFailure) -> String {
    keylime_engine::verdict::Failure::Ima(failure.clone()).event_id()
}
