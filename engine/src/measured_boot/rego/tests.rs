use super::*;
use crate::measured_boot::policy::combinator::{
    self, DigestSet, Dispatcher, Key, Padding, SignatureSet, Test, VariableDispatcher, action_test, separator_test,
};
use std::collections::BTreeMap;

const LOG: &[u8] = include_bytes!("../../../tests/data/boot/sb_base.bin");
const STATE: &str = include_str!("../../../tests/data/boot/refstate_sb_base.json");
const CHAPTER: &str = include_str!("README.md");

/// The policies of the chapter, by name.
fn chapter() -> BTreeMap<&'static str, &'static str> {
    let blocks = CHAPTER.split("```rego\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.map(|text| (text.strip_prefix("package keylime.boot.").unwrap().lines().next().unwrap(), text)).collect()
}

fn state() -> Value {
    serde_json::from_str(STATE).unwrap()
}

/// The base log, and logs that differ from it in one event.
fn logs() -> Vec<Value> {
    let base = ParsedBootLog::parse(LOG).unwrap().json().clone();
    let events = base["events"].as_array().unwrap();
    let find = |event_type: &str, name: &str| {
        events.iter().position(|event| {
            event["EventType"] == event_type
                && (name.is_empty() || event["Event"]["UnicodeName"] == name || event["Event"]["String"] == name)
        })
    };
    let mut logs = vec![base.clone()];
    let mut changed = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut log = base.clone();
        change(log["events"].as_array_mut().unwrap());
        logs.push(log);
    };
    for event_type in [
        "EV_EFI_GPT_EVENT",
        "EV_S_CRTM_VERSION",
        "EV_NO_ACTION",
        "EV_EFI_BOOT_SERVICES_APPLICATION",
        "EV_SEPARATOR",
        "EV_EFI_ACTION",
        "EV_IPL",
    ] {
        let index = find(event_type, "").unwrap();
        changed(&|events| drop(events.remove(index)));
        changed(&|events| events.push(events[index].clone()));
        changed(&|events| events[index]["Digests"] = json!([{ "AlgorithmId": "sha256", "Digest": "00" }]));
        changed(&|events| events[index]["Digests"] = Value::Null);
        changed(&|events| events[index]["Event"] = json!("FFFFFFFF"));
        changed(&|events| events[index]["PCRIndex"] = json!(11));
    }
    for name in ["SecureBoot", "db", "dbx", "MokList"] {
        let is_ipl = name == "MokList";
        let index = find(if is_ipl { "EV_IPL" } else { "EV_EFI_VARIABLE_DRIVER_CONFIG" }, name).unwrap();
        changed(&|events| events[index]["Event"]["VariableData"] = json!({ "Enabled": "No" }));
        changed(&|events| events[index]["Event"]["VariableData"] = Value::Null);
        changed(&|events| events[index]["Digests"] = json!([{ "AlgorithmId": "sha256", "Digest": "00" }]));
    }
    for name in ["db", "dbx"] {
        let index = find("EV_EFI_VARIABLE_DRIVER_CONFIG", name).unwrap();
        changed(&|events| events[index]["Event"]["VariableData"][0]["SignatureType"] = json!("other"));
        changed(&|events| drop(events[index]["Event"]["VariableData"][0]["Keys"].as_array_mut().and_then(Vec::pop)));
        changed(&|events| events[index]["Event"]["VariableData"][0]["Keys"][0]["SignatureData"] = json!(1));
    }
    changed(&|events| events.clear());
    changed(&|events| {
        for event in events.iter_mut().filter(|event| event["PCRIndex"] == 8) {
            event["Event"]["String"] = json!("module: x");
        }
    });
    for log in &mut logs {
        log["version"] = json!(2);
    }
    let mut other_version = base.clone();
    other_version["version"] = json!(1);
    logs.push(other_version);
    logs
}

/// Answers of a policy in Rego on a log that is already JSON.
fn rego_accepts(policy: &RegoPolicy, log: &Value) -> bool {
    let mut engine = policy.engine.lock().unwrap().clone();
    let input = json!({ "log": log, "refstate": state(), "pcrs": {} });
    engine.set_input(regorus::Value::from_json_str(&input.to_string()).unwrap());
    // A policy that cannot be evaluated on a log rejects it, as everywhere.
    engine.eval_rule(policy.rule.to_string()).is_ok_and(|denied| as_json(&denied).as_array().unwrap().is_empty())
}

fn events(test: Test) -> Test {
    Test::Events { each: Box::new(test), finally: Box::new(Test::AcceptAll) }
}

fn collected(name: &str, when: Test, finally: Test) -> Test {
    let collect = Test::And(vec![when, Test::Collect(name.to_owned())]);
    Test::Events {
        each: Box::new(Test::Or(vec![collect, Test::AcceptAll])),
        finally: Box::new(Test::Collected(vec![name.to_owned()], Box::new(Test::field(name, finally)))),
    }
}

fn of_type(event_type: &str) -> Test {
    Test::field("EventType", Test::text(event_type))
}

/// A test for events of one kind; others are accepted.
fn only(event_type: &str, test: Test) -> Test {
    Test::Or(vec![Test::And(vec![of_type(event_type), test]), not_of_type(event_type)])
}

fn not_of_type(event_type: &str) -> Test {
    Test::field("EventType", Test::pattern(&format!("(?!{event_type}$).*")).unwrap())
}

fn ipl(text: Test) -> Test {
    Test::field("Event", Test::field("String", text))
}

fn exactly(count: usize) -> Test {
    Test::Tuple(vec![Test::AcceptAll; count], Padding::None)
}

fn signatures(name: &str) -> Arc<SignatureSet> {
    let mut set = SignatureSet::default();
    for key in state()[name].as_array().unwrap() {
        let data = key["SignatureData"].as_str().unwrap().strip_prefix("0x").unwrap();
        set.insert(key["SignatureOwner"].as_str().unwrap(), data);
    }
    Arc::new(set)
}

fn sha256_of(text: &Value) -> Test {
    Test::Digests(DigestSet::one("sha256", text.as_str().unwrap().strip_prefix("0x").unwrap()))
}

fn variable(event_type: &str, name: &str, test: Test) -> Test {
    let named = Test::field("Event", Test::field("UnicodeName", Test::text(name)));
    let is_it = Test::And(vec![of_type(event_type), named]);
    // One that is no variable of this name is accepted.
    collected("variables", is_it, Test::iterate(Test::field("Event", Test::field("VariableData", test))))
}

/// The same policies made of the tests they are named for.
fn combinators() -> BTreeMap<&'static str, Test> {
    const X509: &str = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072";
    const SHA256: &str = "c1c41626-504c-4092-aca9-41f936934328";
    let state = state();
    let kernel = &state["kernels"][0];
    let applications = ["shim_authcode_sha256", "grub_authcode_sha256", "kernel_authcode_sha256"];
    let applications = applications.map(|name| sha256_of(&kernel[name])).to_vec();
    let mut known = Dispatcher::new(&["PCRIndex", "EventType"]);
    for (pcr, event_type) in [
        (0, "EV_NO_ACTION"),
        (0, "EV_S_CRTM_VERSION"),
        (0, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
        (1, "EV_PLATFORM_CONFIG_FLAGS"),
        (1, "EV_EFI_VARIABLE_BOOT"),
        (2, "EV_EFI_BOOT_SERVICES_DRIVER"),
        (4, "EV_EFI_ACTION"),
        (4, "EV_EFI_BOOT_SERVICES_APPLICATION"),
        (5, "EV_EFI_ACTION"),
        (5, "EV_EFI_GPT_EVENT"),
        (7, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
        (7, "EV_EFI_VARIABLE_AUTHORITY"),
        (8, "EV_IPL"),
        (9, "EV_IPL"),
        (14, "EV_IPL"),
    ] {
        known.set([Key::Int(pcr), event_type.into()], Test::AcceptAll);
    }
    for pcr in 0..8 {
        known.set([Key::Int(pcr), "EV_SEPARATOR".into()], Test::AcceptAll);
    }
    let mut mok = DigestSet::default();
    for digest in state["mokdig"].as_array().unwrap() {
        mok.insert("sha256", digest["sha256"].as_str().unwrap().strip_prefix("0x").unwrap());
    }
    let mut secure_boot = VariableDispatcher::default();
    let enabled = Test::field("Enabled", Test::text("Yes"));
    secure_boot.set("8be4df61-93ca-11d2-aa0d-00e098032b8c", "SecureBoot", enabled);
    let is_secure_boot = Test::And(vec![
        of_type("EV_EFI_VARIABLE_DRIVER_CONFIG"),
        Test::field("Event", Test::field("UnicodeName", Test::text("SecureBoot"))),
    ]);
    let in_pcr = |pcr| Test::field("PCRIndex", Test::IntEqual(pcr));
    let outside_pcr_8 = Test::Or((0..32).filter(|pcr| *pcr != 8).map(in_pcr).collect());
    let actions = [1, 4, 5, 6].map(|pcr| {
        // The digests are covered by a test of their own.
        Test::And(vec![in_pcr(pcr.into()), action_texts(&action_test(pcr))])
    });
    BTreeMap::from([
        ("accept_everything", Test::AcceptAll),
        ("reject_everything", Test::RejectAll("reject all".to_owned())),
        (
            "both",
            Test::And(vec![
                collected("versions", of_type("EV_S_CRTM_VERSION"), exactly(1)),
                collected("tables", of_type("EV_EFI_GPT_EVENT"), exactly(1)),
            ]),
        ),
        (
            "either",
            Test::Or(vec![
                collected("tables", of_type("EV_EFI_GPT_EVENT"), exactly(1)),
                collected("tables", of_type("EV_EFI_GPT_EVENT"), exactly(2)),
                collected("trusted", ipl(Test::text("MokListTrusted")), exactly(1)),
            ]),
        ),
        (
            "fields",
            Test::field(
                "events",
                Test::Tuple(
                    std::iter::once(Test::fields([
                        ("EventType", Test::text("EV_NO_ACTION")),
                        ("PCRIndex", Test::IntEqual(0)),
                    ]))
                    .chain(std::iter::repeat_n(Test::AcceptAll, 99))
                    .collect(),
                    Padding::Null,
                ),
            ),
        ),
        (
            "every_event",
            events(Test::Or(vec![
                Test::field("EventNum", Test::IntEqual(0)),
                Test::field("Digests", Test::Tuple(vec![Test::AcceptAll; 1], Padding::None)),
            ])),
        ),
        (
            "in_order",
            collected(
                "applications",
                of_type("EV_EFI_BOOT_SERVICES_APPLICATION"),
                Test::Tuple(applications, Padding::None),
            ),
        ),
        ("known_types", events(Test::Dispatch(known))),
        (
            "collected",
            collected(
                "cmdlines",
                Test::And(vec![in_pcr(8), of_type("EV_IPL"), ipl(Test::pattern("(?s)kernel_cmdline: .*").unwrap())]),
                exactly(1),
            ),
        ),
        (
            "equal",
            Test::And(vec![
                Test::field("version", Test::IntEqual(2)),
                Test::field(
                    "events",
                    Test::Tuple(
                        std::iter::once(of_type("EV_NO_ACTION"))
                            .chain(std::iter::repeat_n(Test::AcceptAll, 99))
                            .collect(),
                        Padding::Null,
                    ),
                ),
            ]),
        ),
        (
            "pattern",
            events(Test::Or(vec![outside_pcr_8, ipl(Test::pattern("(?s)grub_cmd: .*|kernel_cmdline: .*").unwrap())])),
        ),
        (
            "digests",
            collected(
                "lists",
                Test::And(vec![of_type("EV_IPL"), ipl(Test::text("MokList"))]),
                Test::iterate(Test::Digests(mok)),
            ),
        ),
        ("variables", collected("variables", is_secure_boot, Test::iterate(secure_boot.into_test()))),
        (
            "known_keys",
            variable("EV_EFI_VARIABLE_DRIVER_CONFIG", "db", Test::key_subset(&[X509, SHA256], &signatures("db"))),
        ),
        (
            "revocations",
            variable("EV_EFI_VARIABLE_DRIVER_CONFIG", "dbx", Test::key_superset(SHA256, &signatures("dbx"))),
        ),
        ("once", events(only("EV_EFI_GPT_EVENT", Test::once(Test::AcceptAll)))),
        ("separators", events(only("EV_SEPARATOR", separator_test()))),
        ("actions", events(only("EV_EFI_ACTION", Test::Or(actions.to_vec())))),
    ])
}

/// The texts of an action test, without the digests.
fn action_texts(test: &Test) -> Test {
    match test {
        Test::Or(tests) => Test::Or(tests.iter().map(action_texts).collect()),
        Test::And(tests) => tests[0].clone(),
        other => other.clone(),
    }
}

#[test]
fn the_chapter_and_the_tests_it_is_about_agree() {
    let logs = logs();
    let combinators = combinators();
    let chapter = chapter();
    assert_eq!(chapter.keys().collect::<Vec<_>>(), combinators.keys().collect::<Vec<_>>());
    for (name, text) in chapter {
        let policies = RegoPolicies::compile(&[PolicySource { path: name, text }], |_| false).unwrap();
        let policy = policies.policy(name).unwrap().unwrap();
        let mut seen = [false; 2];
        for (index, log) in logs.iter().enumerate() {
            let expected = combinator::evaluate(&combinators[name], log);
            let accepted = rego_accepts(&policy, log);
            assert_eq!(accepted, expected.is_ok(), "{name} on log {index}: {expected:?}");
            seen[usize::from(accepted)] = true;
        }
        assert!(seen.iter().all(|seen| *seen) || name.ends_with("everything"), "{name}: {seen:?}");
    }
}

fn policy(text: &str) -> Result<RegoPolicy, RegoError> {
    let policies = RegoPolicies::compile(&[PolicySource { path: "site.rego", text }], |name| name == "example")?;
    Ok(policies.policy("site")?.expect("the policy is there"))
}

fn answer(text: &str) -> Result<(), String> {
    let log = ParsedBootLog::parse(LOG).unwrap();
    let answer = policy(text).unwrap().evaluate(Some(&log), &state());
    answer.map_err(|reason| format!("{reason} {:?}", reason.events()))
}

#[test]
fn a_reason_may_name_an_event() {
    let text = "package keylime.boot.site\ndeny contains {\"event\": 7, \"reason\": \"no\"}";
    assert_eq!(answer(text), Err("no [7]".to_owned()));
    assert_eq!(answer("package keylime.boot.site\ndeny := [\"a\", \"b\"]"), Err("[a, b] []".to_owned()));
    assert_eq!(answer("package keylime.boot.site\ndeny := set()"), Ok(()));
    let text = "package keylime.boot.site\ndeny contains \"x\" if input.pcrs.sha256[\"0\"] != \
                \"0d993cf4baec1dc2a47013c8bcc13e1593d5e6ba9cc4630f422e98d310212aff\"";
    assert_eq!(answer(text), Ok(()));
}

#[test]
fn what_is_no_answer_never_passes() {
    for text in [
        "package keylime.boot.site\ndeny := false",
        "package keylime.boot.site\ndeny := {} if input.nothing",
        "package keylime.boot.site\ndeny := x if { x := [] ; input.log.version == 3 }",
    ] {
        assert!(answer(text).unwrap_err().starts_with("policy evaluation failed"), "{text}");
    }
}

#[test]
fn an_endless_policy_is_stopped() {
    let text = "package keylime.boot.site\n\
                deny contains x if { input.log.events[0]; numbers.range(1, 3000)[a]; numbers.range(1, 3000)[b]; \
                numbers.range(1, 3000)[c]; x := a + b + c; x < 0 }";
    let problem = answer(text).unwrap_err();
    assert!(problem.starts_with("policy evaluation failed"), "{problem}");
}

#[test]
fn errors_name_file_and_line() {
    let compile = |text: &str| policy(text).unwrap_err().to_string();
    let problem = compile("package keylime.boot.site\n\ndeny contains x if {\n");
    assert!(problem.contains("site.rego:"), "{problem}");
    let problem = compile("package keylime.boot.site\n\ndeny contains x if { y > 1 }\n");
    assert!(problem.contains("site.rego:3"), "{problem}");
    assert_eq!(compile("package keylime.boot.site\nallow := true"), "package keylime.boot.site has no rule deny");
    assert!(compile("package keylime.boot.example\ndeny := set()").contains("name of a built-in policy"));
    let problem = compile("package keylime.boot.site\ndeny := set()\nrelevant_pcrs := {10}");
    assert!(problem.contains("relevant_pcrs is [10]"), "{problem}");
    let problem = compile(&format!("package keylime.boot.site\n#{}", "x".repeat(MAX_SOURCE_BYTES)));
    assert!(problem.contains("bytes are more than"), "{problem}");
}

#[test]
fn a_policy_has_its_pcrs() {
    let text = "package keylime.boot.site\ndeny := set()\nrelevant_pcrs := {0, 7}";
    assert_eq!(policy(text).unwrap().relevant_pcrs(), PcrMask::of([0, 7]));
    assert_eq!(policy("package keylime.boot.site\ndeny := set()").unwrap().relevant_pcrs(), PcrMask::EMPTY);
}

#[test]
fn nothing_outside_the_input_can_be_reached() {
    for call in ["http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"})", "opa.runtime()", "time.now_ns()"] {
        let text = format!("package keylime.boot.site\ndeny contains x if {{ x := {call} }}");
        let refused = policy(&text).is_err() || answer(&text).is_err();
        assert!(refused, "{call}");
    }
}
