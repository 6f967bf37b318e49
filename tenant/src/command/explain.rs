//! `explain`: why an agent failed, check by check, and what would let it pass.
//!
//! A verifier of this project keeps the failures of the last attestation and serves them at `/agents/ID/explain`; of any
//! other verifier only the event id is known, from the agent's status.

use keylime_engine::lifecycle::operational_state::OperationalState;
use serde_json::{Map, Value, json};
use tracing::debug;

use super::status::{MissingAgent, verifier_record};
use crate::error::TenantError;
use crate::output::{compact, printable};
use crate::policy_patch;
use crate::session::Session;

/// Most failures shown.
const MAX_SHOWN: usize = 100;

/// Beginnings of event ids, what they mean and what to look at. The first that fits counts.
const MEANINGS: [(&str, &str); 22] = [
    ("qoute_validation.quote_validation", "the quote's signature, nonce or PCRs do not verify; was the TPM changed?"),
    ("qoute_validation", "the quote is not what was asked for or does not verify"),
    ("pcr_validation.missing_pcrs", "the quote lacks PCRs that were asked for"),
    ("pcr_validation.invalid_pcr_0", "a PCR differs from the TPM policy; compare it with --tpm_policy"),
    ("pcr_validation", "a PCR differs from what the policies expect"),
    (
        "measured_boot",
        "the firmware's event log differs from the measured boot policy; was firmware or boot loader updated?",
    ),
    ("ima.validation.ima-ng.not_in_allowlist", "a file ran that the runtime policy does not list"),
    ("ima.validation.ima-ng.runtime_policy_hash", "a file ran with other content than the runtime policy lists"),
    ("ima.validator.ima-sig.invalid_signature", "a file's IMA signature does not verify with the keys of the policy"),
    ("ima.validation.tomtou", "a file changed while it was measured; see ignore_tomtou_errors"),
    ("ima.validation.ima_hash", "an entry of the IMA list does not hash to its template hash: the list was altered"),
    ("ima.validation.dm", "a device-mapper event differs from the policy"),
    ("ima.validation", "an entry of the IMA list does not satisfy the runtime policy"),
    ("ima.parser", "a line of the IMA list cannot be read"),
    ("ima.pcr_mismatch", "the IMA list does not replay to the quoted PCR 10: it is incomplete or was altered"),
    ("ima.quote_progress", "the quote keeps lagging behind the IMA list"),
    ("ima", "the IMA list does not satisfy the runtime policy"),
    ("internal.verifier.not_reachable", "the agent did not answer; is it running, and is its contact_ip right?"),
    ("internal.verifier.version_not_supported", "agent and verifier share no API version"),
    ("internal.verifier.no_quote", "the agent refused to quote; see the agent's log"),
    ("internal", "the verifier could not judge the agent; see the verifier's log"),
    ("", "see the verifier's log"),
];

pub(super) async fn explain(session: &mut Session) -> Result<(), TenantError> {
    let id = session.agent_id.clone();
    let record = verifier_record(session, MissingAgent::Error).await?.unwrap_or_default();
    let failures = failures(session, &record).await?;
    let state = record.get("operational_state").and_then(Value::as_i64).and_then(OperationalState::from_code);
    let verdict = record.get("attestation_status").and_then(Value::as_str).unwrap_or_default();
    let severity = record.get("severity_level").cloned().unwrap_or_default();
    let state = state.map_or("unknown", |state| state.text());
    let patch = policy_patch::patch(&failures);
    for line in lines(&id, verdict, state, &failures, patch.as_ref()) {
        session.print(&line);
    }
    session.answer.note("agent", id.into());
    session.answer.note("attestation_status", verdict.into());
    session.answer.note("operational_state", state.into());
    session.answer.note("severity_level", severity);
    session.answer.note("failures", failures.iter().map(explained).collect());
    session.answer.note("policy_patch", patch.unwrap_or_default());
    Ok(())
}

/// The failures the verifier kept, or the one its status names.
async fn failures(session: &mut Session, record: &Map<String, Value>) -> Result<Vec<Value>, TenantError> {
    let id = session.agent_id.clone();
    let reply = session.verifier.explanation(&id).await?;
    if reply.status == 200
        && let Some(Value::Array(failures)) = reply.results().and_then(|results| results.get("failures").cloned())
    {
        return Ok(failures);
    }
    debug!(target: "keylime.tenant", "{} keeps no explanations: status {}", session.verifier.name(), reply.status);
    let event = record.get("last_event_id").and_then(Value::as_str).filter(|event| !event.is_empty());
    Ok(event.map(|event| json!({"event_id": event})).into_iter().collect())
}

fn text<'v>(failure: &'v Value, member: &str) -> &'v str {
    failure.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn meaning(event: &str) -> &'static str {
    MEANINGS.iter().find(|(beginning, _)| event.starts_with(beginning)).map_or("", |(_, meaning)| meaning)
}

fn explained(failure: &Value) -> Value {
    let mut failure = failure.clone();
    let meaning = meaning(text(&failure, "event_id"));
    if let Some(members) = failure.as_object_mut() {
        members.insert("meaning".to_owned(), meaning.into());
    }
    failure
}

fn lines(id: &str, verdict: &str, state: &str, failures: &[Value], patch: Option<&Value>) -> Vec<String> {
    if failures.is_empty() {
        let verdict = if verdict.is_empty() { "not attested yet" } else { verdict };
        return vec![format!("Agent {id}: {verdict}, state {state}; no failure is known.")];
    }
    let mut lines = vec![format!("Agent {id}: {verdict}, state {state}; {} failed:", checks(failures.len()))];
    for (number, failure) in failures.iter().take(MAX_SHOWN).enumerate() {
        let event = text(failure, "event_id");
        lines.push(format!("{}. {}: {}", number + 1, printable(event), meaning(event)));
        let line = failure.get("line").and_then(Value::as_u64).map(|line| line.to_string()).unwrap_or_default();
        let expected = failure
            .get("expected")
            .and_then(Value::as_array)
            .map(|values| values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
        for (title, value) in [
            ("what happened", text(failure, "text")),
            ("line of the list", &line),
            ("subject", text(failure, "subject")),
            ("found", text(failure, "found")),
            ("expected", expected.as_deref().unwrap_or_default()),
            ("policy entry", text(failure, "policy_entry")),
            ("what would help", text(failure, "remedy")),
        ] {
            if !value.is_empty() {
                lines.push(format!("   {title}: {}", printable(value)));
            }
        }
    }
    if failures.len() > MAX_SHOWN {
        lines.push(format!("… and {} more; --json has them all.", failures.len() - MAX_SHOWN));
    }
    if let Some(patch) = patch {
        lines.push("If what was found is legitimate, these additions to the policies would let it pass:".to_owned());
        lines.push(compact(patch));
    }
    lines
}

fn checks(count: usize) -> String {
    if count == 1 { "1 check".to_owned() } else { format!("{count} checks") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_explained_and_hostile_text_stays_on_its_line() {
        let failures = [
            json!({
                "event_id": "ima.validation.ima-ng.not_in_allowlist",
                "line": 3,
                "subject": "/a\n2. forged",
                "policy_entry": "runtime_policy/digests/~1a",
                "found": "01",
                "expected": [],
                "text": "line 3: \"/a\" is not in the policy",
                "remedy": "add 01 under this entry, or exclude the name",
            }),
            json!({"event_id": "qoute_validation.quote_validation"}),
        ];
        let patch = policy_patch::patch(&failures);
        let lines = lines("A", "FAIL", "Invalid Quote", &failures, patch.as_ref());
        assert_eq!(lines[0], "Agent A: FAIL, state Invalid Quote; 2 checks failed:");
        assert!(lines[1].ends_with("a file ran that the runtime policy does not list"), "{lines:?}");
        assert_eq!(lines[4], "   subject: /a\\n2. forged");
        assert!(lines[8].starts_with("2. qoute_validation.quote_validation: "), "{lines:?}");
        assert_eq!(lines.last().unwrap(), r#"{"runtime_policy": {"digests": {"/a": ["01"]}}}"#);
    }

    #[test]
    fn every_event_has_a_meaning() {
        for event in
            ["pcr_validation.invalid_pcr_16", "measured_boot.x", "something.else", "internal.verifier.exception"]
        {
            assert!(!meaning(event).is_empty());
        }
        assert!(lines("A", "", "Start", &[], None)[0].contains("no failure is known"));
    }
}
