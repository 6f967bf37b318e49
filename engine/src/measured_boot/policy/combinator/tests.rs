use super::*;
use serde_json::json;

fn answer(test: &Test, subject: &Value) -> String {
    evaluate(test, subject).err().map(|reason| reason.to_string()).unwrap_or_default()
}

#[test]
fn reasons_read_as_sentences() {
    let test = Test::field("a", Test::iterate(Test::Or(vec![Test::IntEqual(1), Test::text("x")])));
    assert_eq!(answer(&test, &json!({ "a": [1, "x"] })), "");
    assert_eq!(answer(&test, &json!({ "a": [1, 2] })), "a [1] [is not 1, is not a str]");
    assert_eq!(answer(&test, &json!({})), "has no 'a' field");
    assert_eq!(answer(&test, &json!([])), "is not a dict");
    assert_eq!(answer(&Test::Or(Vec::new()), &json!(1)), "does not pass empty disjunction");
    assert_eq!(answer(&Test::RejectAll("no".to_owned()), &json!(1)), "no");
}

#[test]
fn tuples_have_a_length() {
    let pair = |padding| Test::Tuple(vec![Test::IntEqual(1), Test::AcceptAll], padding);
    assert_eq!(answer(&pair(Padding::None), &json!([1])), " is shorter (1) than the applicable tests (2)");
    assert_eq!(answer(&pair(Padding::Null), &json!([1])), "");
    assert_eq!(answer(&pair(Padding::None), &json!([1, 2, 3])), " is longer (3) than the applicable tests (2)");
    assert_eq!(answer(&pair(Padding::None), &json!([2, 2])), "[0] is not 1");
}

#[test]
fn a_dispatcher_tells_numbers_from_texts() {
    let mut dispatcher = Dispatcher::new(&["n", "t"]);
    dispatcher.set([1.into(), "a".into()], Test::AcceptAll);
    let test = Test::Dispatch(dispatcher);
    assert_eq!(answer(&test, &json!({ "n": 1, "t": "a" })), "");
    assert_eq!(answer(&test, &json!({ "n": "1", "t": "a" })), r#"has unexpected (n, t) combination ("1", "a")"#);
    assert_eq!(answer(&test, &json!({ "n": 1 })), "has no t");
    assert!(answer(&test, &json!({ "n": [], "t": "a" })).contains("unexpected"));
}

#[test]
fn once_is_once_in_an_evaluation_wherever_it_is_shared() {
    let once = Test::once(Test::AcceptAll);
    let test = Test::iterate(Test::Or(vec![Test::And(vec![once.clone(), Test::IntEqual(7)]), once]));
    assert_eq!(answer(&test, &json!([7])), "");
    assert_eq!(answer(&test, &json!([1])), "[0] [is not 7, test was already run once]", "a failed first run counts");
    assert_eq!(answer(&test, &json!([7])), "", "every evaluation starts afresh");
}

#[test]
fn collected_values_are_tested_with_their_events() {
    let test = Test::Events {
        each: Box::new(Test::field("v", Test::Collect("values".to_owned()))),
        finally: Box::new(Test::Collected(
            vec!["values".to_owned(), "none".to_owned()],
            Box::new(Test::fields([
                ("values", Test::Tuple(vec![Test::IntEqual(1), Test::IntEqual(2)], Padding::None)),
                ("none", Test::iterate(Test::RejectAll("no".to_owned()))),
            ])),
        )),
    };
    let log =
        |values: [i64; 2]| json!({ "events": [{ "EventNum": 5, "v": values[0] }, { "EventNum": 9, "v": values[1] }] });
    assert_eq!(evaluate(&test, &log([1, 2])), Ok(()));
    let reason = evaluate(&test, &log([1, 3])).unwrap_err();
    assert_eq!((reason.to_string().as_str(), reason.events()), ("values [1] is not 2", &[9][..]));
    let reason = evaluate(&test, &json!({ "events": [{ "EventNum": 5, "v": 1 }] })).unwrap_err();
    assert_eq!(reason.events(), &[5]);
}

#[test]
fn one_digest_of_one_bank_suffices() {
    let mut digests = DigestSet::one("sha256", "aa");
    digests.insert("sha1", "bb");
    let test = Test::Digests(digests);
    let event = |digests: &[(&str, &str)]| {
        let digests = digests.iter().map(|(a, d)| json!({ "AlgorithmId": a, "Digest": d }));
        json!({ "Digests": digests.collect::<Vec<_>>() })
    };
    assert_eq!(answer(&test, &event(&[("sha256", "cc"), ("sha1", "bb")])), "");
    assert!(answer(&test, &event(&[("sha1", "aa")])).starts_with("has no digest approved by"));
    assert_eq!(answer(&test, &json!({ "Digests": null })), "Digests is not a list");
}

#[test]
fn signature_sets() {
    let mut keys = SignatureSet::default();
    keys.insert("o", "aa");
    keys.insert("o", "bb");
    let keys = Arc::new(keys);
    let list = |signature_type: &str, data: &[&str]| {
        let keys = data.iter().map(|data| json!({ "SignatureOwner": "o", "SignatureData": data }));
        json!({ "SignatureType": signature_type, "Keys": keys.collect::<Vec<_>>() })
    };
    let subset = Test::key_subset(&["t"], &keys);
    assert_eq!(answer(&subset, &json!([list("t", &["aa"]), list("t", &[])])), "");
    assert_eq!(answer(&subset, &json!([])), "");
    assert_eq!(answer(&subset, &json!(null)), "is not a list");
    assert_eq!(answer(&subset, &json!([list("u", &["aa"])])), "[0] SignatureType is not 't'");
    assert!(answer(&subset, &json!([list("t", &["cc"])])).starts_with("[0] Keys [0] is not allowed"));
    let several = Test::key_subset(&["t", "u"], &keys);
    assert_eq!(answer(&several, &json!([list("t", &["aa"]), list("u", &["bb"])])), "");
    let superset = Test::key_superset("t", &keys);
    assert_eq!(answer(&superset, &json!([list("t", &["bb", "aa", "cc"])])), "");
    assert!(answer(&superset, &json!([list("t", &["aa"])])).contains("lacks 1 of the 2 required"));
    assert!(answer(&superset, &json!([list("t", &["aa", "bb"]), list("t", &[])])).contains("is longer (2)"));
    let signature = Test::signature("o", "aa");
    assert_eq!(answer(&signature, &json!({ "SignatureOwner": "o", "SignatureData": "aa", "x": 1 })), "");
    assert_eq!(
        answer(&signature, &json!({ "SignatureOwner": "o", "SignatureData": 11 })),
        "SignatureData is not a str"
    );
}

#[test]
fn fixed_events() {
    let event = |text: &str, bytes: &[u8]| {
        let digest = crate::algorithm::HashAlgorithm::Sha256.digest(&[bytes]).to_hex();
        json!({ "Event": text, "Digests": [{ "AlgorithmId": "sha256", "Digest": digest }] })
    };
    assert_eq!(answer(&separator_test(), &event("00000000", &[0; 4])), "");
    assert!(answer(&separator_test(), &event("ffffffff", &[0xFF; 4])).contains("is not 'FFFFFFFF'"));
    assert!(answer(&separator_test(), &event("00000000", &[1; 4])).contains("has no digest approved"));
    assert_eq!(answer(&action_test(6), &event("UEFI Debug Mode", b"UEFI Debug Mode")), "");
    assert!(answer(&action_test(3), &json!({})).starts_with("No EV_EFI_ACTION event for 3"));
}
