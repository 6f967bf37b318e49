use super::scalar::{double_quoted, hex_digits, plain};
use super::*;

fn json_of(log: &[u8]) -> Result<Value, LogError> {
    let log = EventLog::parse(log)?;
    render(&log, &ReplayedPcrs::of(&log))
}

#[test]
fn members_are_in_the_references_order() {
    let json = json_of(include_bytes!("../../../tests/data/boot/sb_base.bin")).unwrap();
    let events = json["events"].as_array().unwrap();
    assert_eq!(
        events[4].to_string(),
        r#"{"EventNum":4,"PCRIndex":7,"EventType":"EV_EFI_VARIABLE_DRIVER_CONFIG","DigestCount":1,"Digests":[{"AlgorithmId":"sha256","Digest":"ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e"}],"EventSize":53,"Event":{"VariableName":"8be4df61-93ca-11d2-aa0d-00e098032b8c","UnicodeNameLength":10,"VariableDataLength":1,"UnicodeName":"SecureBoot","VariableData":{"Enabled":"Yes"}}}"#
    );
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["version", "events", "pcrs", "boot_aggregates"]);
}

#[test]
fn a_text_that_yaml_cannot_carry_fails_the_log() {
    let error = json_of(include_bytes!("../../../tests/data/boot/sb_ipl_ctrl.bin")).unwrap_err();
    assert!(matches!(error.problem, LogProblem::Text { field: "String", .. }), "{error}");
    let error = json_of(include_bytes!("../../../tests/data/boot/sha1_legacy.bin")).unwrap_err();
    assert_eq!(error.problem, LogProblem::Sha1Format);
}

#[test]
fn texts_without_quotes_take_the_types_of_yaml() {
    for (text, value) in [
        ("db", json!("db")),
        ("123", json!(123)),
        ("0123", json!(83)),
        ("0129", json!("0129")),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("1:30", json!(90)),
        ("-5", json!(-5)),
        ("1.5", json!(1.5)),
        ("1e3", json!("1e3")),
        ("1.0e+3", json!(1000.0)),
        ("on", json!(true)),
        ("No", json!(false)),
        ("nO", json!("nO")),
        ("~", json!(null)),
        ("", json!(null)),
        (" db ", json!("db")),
        ("a #b", json!("a")),
        ("a:b", json!("a:b")),
    ] {
        assert_eq!(plain(text.as_bytes()), Ok(value), "{text}");
    }
    for text in ["a: b", "a:", "[a", "- a", "2001-12-14", "a\nb", "*a", "\u{7f}"] {
        assert!(plain(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn digits_are_a_number_and_hexadecimal_is_a_text() {
    assert_eq!(hex_digits(&[0x12, 0x34]), json!(1234));
    assert_eq!(hex_digits(&[0x01, 0x27]), json!(87));
    assert_eq!(hex_digits(&[0x01, 0x28]), json!("0128"));
    assert_eq!(hex_digits(&[0xab]), json!("ab"));
    assert_eq!(hex_digits(&[0x0b, 0x01]), json!(1), "binary notation");
    assert_eq!(hex_digits(&[]), json!(null));
    assert!(hex_digits(&[0x12; 32]).is_f64());
}

#[test]
fn quoted_texts_are_unescaped_once_and_all_texts_a_second_time() {
    assert_eq!(double_quoted(br"a\tb\x41"), Ok("a\tbA".to_owned()));
    assert!(double_quoted(br"a\q").is_err() && double_quoted(b"a\"b").is_err());
    assert_eq!(unescape(r"\EFI\redhat".to_owned()), "\\EFI\redhat");
    assert_eq!(unescape(r"a\\tb".to_owned()), "a\\\tb");
    assert_eq!(unescape("a\0\0".to_owned()), "a\0");
}
