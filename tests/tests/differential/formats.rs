//! Small formats: base64, key rings, configuration files, literals, device-mapper events.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::ima::Keyring;
use keylime_engine::ima::device_mapper::{EventKind, grammar};
use keylime_engine::ima::measurement_list::{EntryReader, lines};
use keylime_engine::ima::template::Extra;
use keylime_engine::policy::dsse;
use keylime_settings::ini::Ini;
use keylime_settings::python_literal::{self, Literal};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn envelopes_texts_decode_alike() {
    let mut chance = Chance::of_run("base64");
    let mut peer = Peer::start();
    for _ in 0..cases(3000) {
        let length = chance.below(14);
        let alphabet: Vec<char> = "AZaz09+/-_=fF0a \n".chars().collect();
        let text: String = (0..length).map(|_| alphabet[chance.below(alphabet.len())]).collect();
        let theirs = peer.ask(&json!({ "ask": "decoded", "text": text }));
        let ours = dsse::decode_text(&text, "payload").map(hex::encode);
        assert_eq!(ours.ok().map(Value::from), theirs.get("bytes").cloned(), "{text:?}");
    }
}

#[test]
fn key_rings_are_read_alike() {
    let mut chance = Chance::of_run("key rings");
    let mut peer = Peer::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/agreement/keyrings");
    let mut rings: Vec<String> = std::fs::read_dir(folder)
        .expect("vectors")
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    rings.sort();
    for _ in 0..cases(1000) {
        let mut text = rings[chance.below(rings.len())].clone();
        for _ in 0..chance.below(3) {
            text = chance.edited(&text, "{}[]\",: 0Aa=+/");
        }
        let theirs = peer.ask(&json!({ "ask": "keyring", "text": text }));
        let ours = Keyring::from_json(&text);
        if theirs["exception"] == true {
            continue;
        }
        let ids = ours.as_ref().ok().and_then(Option::as_ref).map(|ring| {
            let mut ids: Vec<i128> = ring.key_ids().collect();
            ids.sort_unstable();
            ids.iter().map(|id| serde_json::from_str(&id.to_string()).unwrap_or(Value::Null)).collect::<Vec<Value>>()
        });
        assert_eq!(json!(ids), theirs["ids"], "{text}\n{ours:?}");
    }
}

#[test]
fn configuration_files_are_read_alike() {
    const PIECES: [&str; 22] = [
        "[a]",
        "[b]",
        "[DEFAULT]",
        "x = 1",
        "y: 2",
        "z",
        "x=",
        " indented",
        "\tmore",
        "# comment",
        "; comment",
        "",
        "  ",
        "key = a # b",
        "key = a ; b",
        "UPPER = V",
        "x = [\"a\",",
        "   \"b\"]",
        "= v",
        "[c",
        "é = ü",
        "a b = c : d",
    ];
    let mut chance = Chance::of_run("configuration files");
    let mut peer = Peer::start();
    for _ in 0..cases(3000) {
        let lines: Vec<&str> = (0..chance.below(9)).map(|_| chance.pick(&PIECES)).collect();
        let text = lines.join(chance.pick(&["\n", "\n", "\r\n"]));
        let theirs = peer.ask(&json!({ "ask": "ini", "text": text }));
        let mut ini = Ini::default();
        let ours = ini.read(&text);
        if theirs["refused"] == true || ours.is_err() {
            assert_eq!(theirs["refused"] == true, ours.is_err(), "{text:?}: {ours:?} {theirs}");
            continue;
        }
        for (section, options) in theirs["sections"].as_object().expect("an object") {
            for (option, value) in options.as_object().expect("an object") {
                let expected = value.as_str().unwrap_or_default();
                assert_eq!(ini.get(section, option), Some(expected), "{text:?} [{section}] {option}");
            }
        }
    }
}

#[test]
fn device_mapper_events_are_read_alike() {
    let mut chance = Chance::of_run("device mapper");
    let mut peer = Peer::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/agreement/dm");
    let mut events: Vec<(EventKind, String)> = Vec::new();
    for entry in std::fs::read_dir(folder).expect("vectors").flatten() {
        let list = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for (_, line) in lines(&list) {
            let mut reader = EntryReader::default();
            let Ok(entry) = reader.read(line) else { continue };
            let (Some(kind), Extra::Buffer(range)) = (EventKind::from_name(entry.name), &entry.extra) else { continue };
            events.extend(String::from_utf8(entry.part(range).to_vec()).ok().map(|text| (kind, text)));
        }
    }
    events.sort_by(|a, b| a.1.cmp(&b.1));
    let mut read = 0;
    for _ in 0..cases(1500) {
        let (kind, text) = &events[chance.below(events.len())];
        let mut text = text.clone();
        for _ in 0..chance.below(3) {
            text = chance.edited(&text, "0129azn_=,;:|\\ ");
        }
        let theirs = peer.ask(&json!({ "ask": "device_mapper", "text": text, "event": kind.name() }));
        match grammar::parse_event(*kind, &text) {
            Ok(parsed) => {
                assert_eq!(Value::Object(parsed), theirs["parsed"], "{} {text:?}", kind.name());
                read += 1;
            }
            Err(error) => assert_eq!(theirs["refused"], true, "{} {text:?}: {error:?}", kind.name()),
        }
    }
    assert!(read > 100);
}

#[test]
fn literals_are_read_alike() {
    let mut chance = Chance::of_run("literals");
    let mut peer = Peer::start();
    let mut read = 0;
    for _ in 0..cases(3000) {
        let mut text = literal(&mut chance, 0);
        for _ in 0..chance.below(2) {
            text = chance.edited(&text, "[](){},:'\"\\ 01-.eTN");
        }
        let theirs = peer.ask(&json!({ "ask": "literal", "text": text }));
        let ours = python_literal::parse(&text);
        let kind = theirs["kind"].as_str().unwrap_or_default();
        // Options hold none of the other kinds.
        if theirs["refused"] == true {
            assert!(ours.is_err(), "{text:?}: {ours:?}");
        } else if matches!(kind, "list" | "dict" | "str" | "int" | "float" | "bool" | "NoneType") {
            let Ok(Literal::Value(value)) = &ours else { panic!("{text:?}: {ours:?} {theirs}") };
            assert!(same(value, &theirs["value"]), "{text:?}: {value} {theirs}");
            read += 1;
        }
    }
    assert!(read > 500);
}

fn literal(chance: &mut Chance, depth: usize) -> String {
    const ATOMS: [&str; 12] =
        ["1", "-2", "1.5", "'a'", "\"b\"", "'it''s'", "None", "True", "'\\x41\\n'", "''", "'é'", "\"'\""];
    let several = |chance: &mut Chance| {
        let items: Vec<String> = (0..chance.below(4)).map(|_| literal(chance, depth + 1)).collect();
        items.join(", ")
    };
    match chance.below(if depth > 2 { 3 } else { 6 }) {
        3 => format!("[{}]", several(chance)),
        4 => format!("({})", several(chance)),
        5 => format!("{{'k': {}, 'l': {}}}", literal(chance, depth + 1), literal(chance, depth + 1)),
        _ => (*chance.pick(&ATOMS)).to_owned(),
    }
}

/// Numbers are the same when their values are.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => ours == theirs,
    }
}
