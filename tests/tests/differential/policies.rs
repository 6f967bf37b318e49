//! Runtime policies on upload.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::policy::{SignatureRule, verify_upload};
use serde_json::{Value, json};

fn base(chance: &mut Chance) -> Value {
    json!({
        "meta": {"version": 1, "generator": chance.below(5), "timestamp": "2024-01-01 00:00:00"},
        "release": 0,
        "digests": {"/a": [chance.hex(32)], "b": [chance.hex(20), chance.hex(64)]},
        "excludes": ["/tmp/.*"],
        "keyrings": {".ima": [chance.hex(32)]},
        "ima": {"ignored_keyrings": ["x"], "log_hash_alg": "sha256", "dm_policy": null},
        "ima-buf": {},
        "verification-keys": "",
    })
}

/// A place in the policy, and something that may or may not belong there.
fn edit(chance: &mut Chance, policy: &mut Value) {
    let pointers = [
        "/meta",
        "/meta/version",
        "/meta/generator",
        "/meta/timestamp",
        "/release",
        "/digests",
        "/digests/~1a",
        "/digests/b/1",
        "/digests/b/0",
        "/excludes",
        "/excludes/0",
        "/keyrings",
        "/keyrings/.ima",
        "/keyrings/.ima/0",
        "/ima",
        "/ima/ignored_keyrings",
        "/ima/ignored_keyrings/0",
        "/ima/log_hash_alg",
        "/ima/dm_policy",
        "/ima-buf",
        "/verification-keys",
    ];
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!(4),
        json!(""),
        json!("x"),
        json!([]),
        json!([1]),
        json!(["a"]),
        json!({}),
        json!({"a": []}),
        json!({"a": ["zz"]}),
        json!("00".repeat(32)),
        json!("AA".repeat(32)),
        json!(format!("{}\n", "00".repeat(20))),
        json!("sha1"),
        json!("sm3_256"),
        json!(r#"{"keyids": [1], "pubkeys": ["QUJD"]}"#),
        json!(r#"{"keyids": ["1"], "pubkeys": []}"#),
        json!("a'b"),
    ];
    let pointer = chance.pick(&pointers);
    if chance.once_in(5) {
        let (parent, member) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(Value::Object(members)) = policy.pointer_mut(parent) {
            members.shift_remove(&member.replace("~1", "/"));
        }
    } else if let Some(slot) = policy.pointer_mut(pointer) {
        *slot = values[chance.below(values.len())].clone();
    }
}

#[test]
fn policies_are_accepted_and_refused_alike() {
    let mut chance = Chance::of_run("policies");
    let mut peer = Peer::start();
    let (mut accepted, mut refused, mut excused) = (0, 0, 0);
    for _ in 0..cases(4000) {
        let mut policy = base(&mut chance);
        for _ in 0..=chance.below(2) {
            edit(&mut chance, &mut policy);
        }
        let mut text = policy.to_string();
        if chance.once_in(20) {
            text = chance.edited(&text, "{}[]\",:0a ");
        }
        let theirs = peer.ask(&json!({ "ask": "policy_upload", "text": text }));
        let ours = verify_upload(text.as_bytes(), None, SignatureRule::NotRequired);
        if theirs["exception"] == true {
            assert!(ours.is_err(), "{text}");
            excused += 1;
            continue;
        }
        match (&ours, theirs["refused"].as_str()) {
            (Ok(_), None) => accepted += 1,
            (Err(error), Some(message)) => {
                let ours = error.to_string();
                let ours = ours.strip_prefix("Runtime policy is malformatted: ").unwrap_or(&ours);
                assert!(
                    ours == message || is_deviation(&text, ours, message),
                    "{text}\nours:   {ours}\ntheirs: {message}"
                );
                refused += 1;
            }
            (Err(error), None) => {
                assert!(is_stricter(&text, &error.to_string()), "only we refuse: {error}\n{text}");
                excused += 1;
            }
            (Ok(_), Some(message)) => panic!("only the reference refuses: {message}\n{text}"),
        }
    }
    println!("policies: {accepted} accepted and {refused} refused by both, {excused} excused");
    assert!(accepted > 100 && refused > 1000);
}

/// The texts that are our own: what is wrong with JSON inside a text, and with a document that is no object.
fn is_deviation(text: &str, ours: &str, theirs: &str) -> bool {
    // The reference looks for patterns under a name that no policy has, so it goes on to the schema.
    if ours.contains("Exclude list regex is misformatted") {
        return true;
    }
    ours.starts_with("verification-keys") || !text.starts_with('{') || theirs.starts_with("Expecting")
}

/// Exclude lists are compiled on upload, and key rings must be readable; the reference finds out too late.
fn is_stricter(text: &str, ours: &str) -> bool {
    ours.starts_with("Invalid regex: ") || ours.contains("verification-keys") || text.contains("NaN")
}
