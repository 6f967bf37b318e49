use super::*;

const LOG: &[u8] = include_bytes!("../../../tests/data/boot/sb_base.bin");
const STATE: &str = include_str!("../../../tests/data/boot/refstate_sb_base.json");

fn options(flavour: Flavour, secure_boot: SecureBootRule) -> Options {
    Options { flavour, secure_boot }
}

#[test]
fn a_state_is_the_one_the_references_tool_makes() {
    let required = options(Flavour::KeylimePolicy, SecureBootRule::Required);
    let created = create(LOG, required).unwrap();
    assert_eq!(created.to_python_json(), STATE);
    assert!(created.warnings.is_empty());
    let created = create(LOG, options(Flavour::CreateMbRefstate, SecureBootRule::MayBeOff)).unwrap();
    assert_eq!(created.to_python_json(), STATE);
    assert_eq!(created.warnings, [ReferenceStateWarning::SecureBootIsOn]);
}

#[test]
fn a_log_without_secure_boot_needs_the_option() {
    let log = include_bytes!("../../../tests/data/boot/bios_nosb.bin");
    let refused = create(log, options(Flavour::KeylimePolicy, SecureBootRule::Required)).unwrap_err();
    assert_eq!(refused.to_string(), "Provided eventlog has SecureBoot disabled, but -i flag was not set");
    let created = create(log, options(Flavour::KeylimePolicy, SecureBootRule::MayBeOff)).unwrap();
    assert_eq!(created.state["has_secureboot"], false);
    assert_eq!(created.state["kernels"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_bad_log_is_refused_with_the_place() {
    let refused = create(&LOG[..100], options(Flavour::KeylimePolicy, SecureBootRule::Required)).unwrap_err();
    assert!(refused.to_string().contains("event 1 at offset 0x41"), "{refused}");
}

#[test]
fn patterns_are_escaped_as_python_does() {
    assert_eq!(escape_pattern("(hd0,gpt2)/vmlinuz-5.14 a=b"), r"\(hd0,gpt2\)/vmlinuz\-5\.14\ a=b");
    assert_eq!(python_json(&json!({ "a": ["é\u{1f600}\n", 1] })), r#"{"a": ["\u00e9\ud83d\ude00\n", 1]}"#);
}
