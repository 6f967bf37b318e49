//! The INI reader and Python's own `RawConfigParser`, which Keylime uses, on the same random files: they read the same, or
//! both refuse.

use keylime_settings::ini::Ini;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Reads a JSON list of texts as files and answers with what each holds, or null.
const PYTHON: &str = "
import configparser, io, json, sys
answers = []
for text in json.load(sys.stdin):
    parser = configparser.RawConfigParser()
    try:
        parser.read_file(io.TextIOWrapper(io.BytesIO(text.encode('utf-8')), encoding='utf-8'))
    except configparser.Error:
        answers.append(None)
        continue
    sections = {name: dict(parser._sections[name]) for name in parser.sections()}
    sections[''] = dict(parser.defaults())
    answers.append(sections)
json.dump(answers, sys.stdout)
";

fn line() -> impl Strategy<Value = String> {
    let blank = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\t"), 1 => Just("  "), 1 => Just("\u{a0}"), 1 => Just("\u{1c}")];
    let word = prop_oneof![
        4 => Just("a"), 3 => Just("Bc"), 2 => Just("d e"), 1 => Just("\"q\""), 1 => Just("['x', 'y']"), 1 => Just("%(a)s"),
        1 => Just("İ"), 1 => Just("ß"), 1 => Just("]"), 1 => Just("["), 1 => Just("#"), 1 => Just(";"), 1 => Just(""),
        1 => Just("\u{b}"), 1 => Just("\u{85}"), 1 => Just("\u{2028}"), 1 => Just("default"),
    ];
    let shape = prop_oneof![
        8 => Just("{w}={v}"), 4 => Just("{w} : {v}"), 3 => Just("[{w}]"), 3 => Just("[s]"), 2 => Just("[t] {v}"), 1 => Just("[DEFAULT]"),
        2 => Just("# {w}"), 1 => Just("; {v}"), 2 => Just(""), 3 => Just("{v}"), 1 => Just("{w}={v} ; {w}"), 1 => Just("= {v}"),
        1 => Just("[{w}"), 1 => Just("{w} = {v} = {v}"), 1 => Just("[]"),
    ];
    (
        blank.clone(),
        shape,
        word.clone(),
        word,
        blank,
        prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 1 => Just("")],
    )
        .prop_map(|(before, shape, w, v, after, end)| {
            format!("{before}{}{after}{end}", shape.replace("{w}", w).replace("{v}", v))
        })
}

fn file() -> impl Strategy<Value = String> {
    let start = prop_oneof![9 => Just("[s]\n"), 1 => Just("")];
    (start, prop::collection::vec(line(), 0..12)).prop_map(|(start, lines)| start.to_owned() + &lines.concat())
}

fn python(texts: &[String]) -> Vec<Value> {
    let mut child = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: it is what the reader is compared with");
    let mut input = child.stdin.take().unwrap();
    input.write_all(serde_json::to_string(texts).unwrap().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(text: &str) -> Value {
    let mut ini = Ini::default();
    if ini.read(text).is_err() {
        return Value::Null;
    }
    let object = |options: &mut dyn Iterator<Item = (&str, &str)>| {
        Value::Object(options.map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
    };
    let mut sections: Map<String, Value> =
        ini.sections().map(|name| (name.to_owned(), object(&mut ini.options(name)))).collect();
    sections.insert(String::new(), object(&mut ini.defaults()));
    Value::Object(sections)
}

#[test]
fn random_files_are_read_as_python_reads_them() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4000).max(4000);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let texts: Vec<String> = (0..cases).map(|_| file().new_tree(&mut runner).unwrap().current()).collect();
    let expected = python(&texts);
    assert_eq!(expected.len(), texts.len());
    let read = expected.iter().filter(|answer| !answer.is_null()).count();
    assert!(read > cases / 10 && read < cases, "{read} of {cases} files could be read: both kinds are needed");
    let different: Vec<_> = texts.iter().zip(&expected).filter(|(text, expected)| ours(text) != **expected).collect();
    let (text, expected) = match different.first() {
        None => return,
        Some(first) => first,
    };
    panic!("{} of {cases} differ, first {text:?}:\nPython {expected}\nours   {}", different.len(), ours(text));
}

/// The samples of the documentation (2.2.6, 2.2.11, 2.3) as an operator would paste them.
#[test]
fn the_documentation_s_samples_are_read_as_python_reads_them() {
    let samples = [
        "[revocations]\n\n# List of revocation notification methods to enable.\nenabled_revocation_notifications = ['agent','webhook']\n",
        "[tenant]\nrequire_ek_cert = True\nek_check_script=ek_check_script.sh\ntpm_cert_store = ~/certs\n",
        "[verifier]\ndatabase_url = mysql+pymysql://keylime:keylime@127.0.0.1/verifier?charset=utf8\n\
         severity_policy = [{\"event_id\": \".*\",\n   \"severity_label\": \"emergency\"}]\n",
    ]
    .map(str::to_owned);
    for (text, expected) in samples.iter().zip(python(&samples)) {
        assert_eq!(ours(text), expected, "{text}");
        assert!(!expected.is_null());
    }
}
