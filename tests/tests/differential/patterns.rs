//! Python's regular expressions.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::policy::python_regex::PythonRegex;
use serde_json::json;

const PIECES: [&str; 52] = [
    "(?#c)",
    "(?#\\))",
    "(?:)",
    "(?x: a #\\\n)",
    "(?>a|b)",
    "a",
    "b",
    "/",
    ".",
    "\\.",
    "x",
    "é",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[]a]",
    "[a\\-z]",
    "[\\w/]",
    "[^\\d\\s]",
    "\\d",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\b",
    "\\B",
    "\\A",
    "\\Z",
    "^",
    "$",
    "(a)",
    "(?:b|c)",
    "(?=a)",
    "(?!b)",
    "(?<=a)",
    "(?<!b)",
    "(?P<n>a)",
    "(?P=n)",
    "\\1",
    "|",
    "a|b",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "(?i:A)",
    "\\x61",
    "\\u0061",
    "\\t",
    "\\-",
];
const REPEATS: [&str; 11] = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{0,}", "*+"];
const ONE_CHARACTER: [&str; 9] = ["a", "b", "/", ".", "x", "[ab]", "[^a]", "\\d", "\\w"];
const TEXTS: [&str; 14] = ["", "a", "b", "ab", "aa", "/a/b", "a\n", "\n", "A", "é", "x1 ", "abc/abc", "{", "aab]"];

#[test]
fn patterns_match_alike() {
    let mut chance = Chance::of_run("patterns");
    let mut peer = Peer::start();
    let (mut compared, mut refused) = (0, 0);
    for _ in 0..cases(6000) {
        let mut pattern = String::new();
        for _ in 0..=chance.below(5) {
            let piece = chance.pick(&PIECES);
            pattern.push_str(piece);
            if chance.once_in(3) {
                let repeat = chance.pick(&REPEATS);
                // CPython 3.11 lets what may match nothing, repeated possessively, match anything: `(?!b)*+` all of "b".
                pattern.push_str(if repeat == "*+" && !ONE_CHARACTER.contains(&piece) { "*" } else { repeat });
            }
        }
        if chance.once_in(8) {
            pattern = format!("{}{pattern}", chance.pick(&["(?i)", "(?s)", "(?m)", "(?x)", "(?a)", "(?im)"]));
        }
        let theirs = peer.ask(&json!({ "ask": "pattern", "pattern": pattern, "texts": TEXTS }));
        if theirs["skip"] == true {
            continue;
        }
        let (prefix, full) = (PythonRegex::prefix_match(&pattern), PythonRegex::full_match(&pattern));
        assert_eq!(json!(prefix.is_ok()), theirs["compiles"], "{pattern:?}: {:?}", prefix.err());
        let (Ok(prefix), Ok(full)) = (prefix, full) else {
            refused += 1;
            continue;
        };
        for (number, text) in TEXTS.iter().enumerate() {
            assert_eq!(json!(prefix.is_match(text)), theirs["prefix"][number], "match {pattern:?} {text:?}");
            assert_eq!(json!(full.is_match(text)), theirs["full"][number], "fullmatch {pattern:?} {text:?}");
        }
        compared += 1;
    }
    println!("patterns: {compared} compared, {refused} refused by both");
    assert!(compared > 1000);
}
