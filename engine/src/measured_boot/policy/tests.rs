use super::*;

const LOG: &[u8] = include_bytes!("../../../tests/data/boot/sb_base.bin");
const STATE: &str = include_str!("../../../tests/data/boot/refstate_sb_base.json");

fn log() -> ParsedBootLog {
    ParsedBootLog::parse(LOG).unwrap()
}

fn state() -> Value {
    serde_json::from_str(STATE).unwrap()
}

fn reason(state: &Value) -> Option<String> {
    let policies = BootPolicies::built_in(BootPolicies::EXAMPLE);
    policies.check_state(state, &log()).err().map(|reason| reason.to_string())
}

#[test]
fn the_example_accepts_what_it_was_made_from() {
    assert_eq!(reason(&state()), None);
}

#[test]
fn every_demand_of_the_example_is_one() {
    let none = serde_json::json!([]);
    for (key, value) in [
        ("kernels", none.clone()),
        ("scrtm_and_bios", none.clone()),
        ("pk", none.clone()),
        ("kek", none.clone()),
        ("db", none.clone()),
        ("mokdig", none.clone()),
        ("mokxdig", none),
        ("has_secureboot", Value::Bool(false)),
        ("kernels", serde_json::json!({})),
        ("pk", Value::Null),
        (
            "dbx",
            serde_json::json!([{"SignatureOwner": "77fa9abd-0359-4d32-bd60-28f4e78f784b", "SignatureData": "0xab"}]),
        ),
    ] {
        let mut state = state();
        state[key] = value;
        assert!(reason(&state).is_some(), "{key}");
    }
    for key in ["kernels", "scrtm_and_bios", "pk", "kek", "db", "dbx", "mokdig", "mokxdig"] {
        let mut state = state();
        state.as_object_mut().unwrap().remove(key);
        assert!(reason(&state).unwrap().contains(key), "{key}");
    }
}

#[test]
fn an_unknown_policy_rejects_everything() {
    let policies = BootPolicies::built_in("site");
    assert_eq!(policies.name(), "reject-all");
    let policy = policies.compile(Some(STATE));
    let failure = policy.evaluate(Some(&log()), PcrMask::EMPTY).unwrap();
    assert_eq!(failure.id(), "policy_reject-all");
}

#[test]
fn a_command_line_pattern_that_does_not_compile_is_a_defect() {
    let mut state = state();
    state["kernels"][0]["kernel_cmdline"] = Value::String("(".to_owned());
    let policy = BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(&state.to_string()));
    assert!(policy.defect().is_some());
    let failure = policy.evaluate(Some(&log()), PcrMask::of(0..24)).unwrap();
    assert!(failure.context()["reason"].as_str().unwrap().starts_with("policy evaluation failed"));
}

#[test]
fn without_a_log_the_pcrs_are_missing() {
    let policy = BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(STATE));
    assert_eq!(policy.evaluate(None, PcrMask::EMPTY).unwrap().id(), "missing_pcrs");
    assert_eq!(policy.evaluate(None, PcrMask::of(0..24)).unwrap().id(), "policy_example");
}
