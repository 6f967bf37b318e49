//! Evidence that is presented once: a recorded request, and changes of its members.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::appraise::{EvidenceVerdict, PresentedTerms, appraise_request};
use serde_json::{Value, json};

fn recorded() -> Value {
    let items: Vec<Value> =
        serde_json::from_str(include_str!("../../../gateway/tests/data/v2-verify-evidence.json")).expect("a recording");
    let item = items.iter().find(|item| item["note"] == "valid").expect("valid evidence");
    serde_json::from_str(item["request"]["body"].as_str().expect("a body")).expect("a request")
}

/// What was changed says which differences may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Quote,
    Key,
    Other,
}

fn change(chance: &mut Chance, data: &mut Value) -> Change {
    const BASE64: &str = "ABCdef019+/=:!";
    let edited = |chance: &mut Chance, data: &mut Value, member: &str, alphabet: &str| {
        let text = data[member].as_str().unwrap_or_default().to_owned();
        data[member] = json!(chance.edited(&text, alphabet));
    };
    match chance.below(10) {
        0 => return Change::Nothing,
        1 => {
            edited(chance, data, "quote", BASE64);
            return Change::Quote;
        }
        2 => {
            edited(chance, data, "tpm_ak", BASE64);
            return Change::Key;
        }
        3 => edited(chance, data, "nonce", "N12="),
        4 => data["hash_alg"] = json!(chance.pick(&["sha1", "sha256", "sha384", "sha512", "sm3_256", "md5", "SHA256"])),
        5 => edited(chance, data, "ima_measurement_list", "0123456789abcdef :\n/"),
        6 => edited(chance, data, "runtime_policy", "{}[]\":,0a/ "),
        7 => {
            let zeros = "0".repeat(64);
            data["tpm_policy"] = json!(chance.pick(&[
                json!({"0": [zeros]}).to_string().as_str(),
                json!({"1": [zeros], "0": zeros}).to_string().as_str(),
                json!({"0": [zeros.replace('0', "f")], "mask": "0x1"}).to_string().as_str(),
                json!({"23": [zeros]}).to_string().as_str(),
                json!({"10": [zeros]}).to_string().as_str(),
                json!({"0": []}).to_string().as_str(),
                "{}",
                "{bad",
                "[]",
            ]));
        }
        8 => {
            let member = chance.pick(&["ima_measurement_list", "runtime_policy"]);
            data[member] = json!("");
            data["tpm_policy"] = json!("{}");
        }
        _ => data["tpm_policy"] = json!({"0": ["0".repeat(64)], "mask": "0x401"}),
    }
    Change::Other
}

#[test]
fn presented_evidence_is_judged_alike() {
    let mut chance = Chance::of_run("presented evidence");
    let mut peer = Peer::start();
    let terms = PresentedTerms::default();
    let (mut compared, mut excused) = (0, 0);
    for _ in 0..cases(2000) {
        let mut request = recorded();
        let mut changes = vec![change(&mut chance, &mut request["data"])];
        if chance.once_in(3) {
            changes.push(change(&mut chance, &mut request["data"]));
        }
        let Some(ours) = judged(&request, &terms) else { continue };
        let theirs = peer.ask(&json!({ "ask": "evidence", "data": request["data"] }));
        if ours == theirs {
            compared += 1;
            continue;
        }
        assert!(is_deviation(&changes, &ours, &theirs), "{changes:?}\nours:   {ours}\ntheirs: {theirs}\n{request}");
        excused += 1;
    }
    println!("presented evidence: {compared} compared, {excused} excused");
    assert!(compared > 3 * excused, "{compared} compared, {excused} excused");
}

/// What the engine says, in the words of the peer's answer; nothing where a member is missing.
fn judged(request: &Value, terms: &PresentedTerms) -> Option<Value> {
    match appraise_request(request, terms) {
        EvidenceVerdict::Valid => Some(json!({ "failures": [] })),
        EvidenceVerdict::Invalid(failures) => {
            let ids: Vec<String> = failures.as_slice().iter().map(|failure| failure.event_id()).collect();
            Some(json!({ "failures": ids }))
        }
        EvidenceVerdict::Missing(_) => None,
        EvidenceVerdict::Refused(_) => Some(json!({ "refused": true })),
    }
}

/// Keys for file signatures are of no use to evidence that is presented once, so it does not matter what is in their place.
#[test]
fn keys_that_cannot_be_read_are_not_looked_at() {
    let mut request = recorded();
    let text = request["data"]["runtime_policy"].as_str().expect("a policy").to_owned();
    let edited = text.replace("\"verification-keys\": \"\"", "\"verification-keys\": \"{\"");
    assert_ne!(edited, text);
    request["data"]["runtime_policy"] = json!(edited);
    let theirs = Peer::start().ask(&json!({ "ask": "evidence", "data": request["data"] }));
    assert_eq!(theirs, json!({ "failures": [] }));
    assert_eq!(judged(&request, &PresentedTerms::default()), Some(theirs));
}

/// Differences that are meant; none of them makes evidence valid that the reference finds invalid.
fn is_deviation(changes: &[Change], ours: &Value, theirs: &Value) -> bool {
    if ours["failures"] == json!([]) {
        return false;
    }
    let first = |answer: &Value| answer["failures"][0].as_str().unwrap_or_default().to_owned();
    let of_quote = |id: &str| id.starts_with("qoute_validation.");
    // A quote whose signature is wrong, whose selection is not the signed one, or whose key may sign what no TPM made, is
    // taken by the reference.
    if changes.iter().any(|change| matches!(change, Change::Quote | Change::Key)) && of_quote(&first(ours)) {
        return true;
    }
    // What cannot be interpreted is an exception of the reference, before or after other failures were found.
    theirs["refused"] == true
        || first(theirs) == "qoute_validation.invalid_quote"
        || (of_quote(&first(ours)) && of_quote(&first(theirs)))
        || (ours["refused"] == true && theirs["failures"] != json!([]))
}
