use super::*;
use crate::measured_boot::policy::BootPolicies;

const LOG: &[u8] = include_bytes!("../../../tests/data/boot/sb_base.bin");
const STATE: &str = include_str!("../../../tests/data/boot/refstate_sb_base.json");

fn encoded(log: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(log)
}

fn ids(failures: &[Failure]) -> Vec<String> {
    failures.iter().map(Failure::event_id).collect()
}

fn example(text: Option<&str>) -> CompiledBootPolicy {
    BootPolicies::built_in(BootPolicies::EXAMPLE).compile(text)
}

#[test]
fn a_policy_is_evaluated_when_its_turn_has_come() {
    let policy = BootPolicies::built_in(BootPolicies::REJECT_ALL).compile(Some(STATE));
    let log = encoded(LOG);
    let rejected = |evaluation: &BootEvaluation, occasion| {
        let judge = BootJudge::new(&policy, evaluation, occasion);
        let stage = judge.read(Some(&log), HashAlgorithm::Sha256);
        assert!(stage.log_failures().is_empty());
        assert_eq!(stage.compared_pcrs().len(), 15);
        ids(&stage.evaluate(PcrMask::EMPTY))
    };
    let rejection = ["measured_boot.policy_reject-all"];
    assert_eq!(rejected(&BootEvaluation::Once, BootOccasion::after(0)), rejection);
    assert!(rejected(&BootEvaluation::Once, BootOccasion::after(1)).is_empty());
    assert!(rejected(&BootEvaluation::Once, BootOccasion::OneShot).is_empty());
    assert_eq!(rejected(&BootEvaluation::Always, BootOccasion::OneShot), rejection);
    assert_eq!(
        rejected(&BootEvaluation::from_option("never"), BootOccasion::Later),
        ["pcr_validation.invalid_measured_boot_evaluate"]
    );
}

#[test]
fn without_a_policy_a_bad_log_still_fails() {
    let policy = CompiledBootPolicy::absent();
    let judge = BootJudge::new(&policy, &BootEvaluation::Once, BootOccasion::First);
    for (log, id) in [
        ("*".to_owned(), "parser.log.base64decode"),
        (encoded(b"bogus"), "parser.tpm2_eventlog.error"),
        (encoded(include_bytes!("../../../tests/data/boot/sb_ipl_ctrl.bin")), "parser.yaml"),
        (encoded(include_bytes!("../../../tests/data/boot/sb_header_only.bin")), "parser.invalid_pcrs"),
        (encoded(include_bytes!("../../../tests/data/boot/sha1_legacy.bin")), "parser.tpm2_eventlog.error"),
    ] {
        let stage = judge.read(Some(&log), HashAlgorithm::Sha256);
        assert_eq!(stage.log_failures().iter().map(MeasuredBootFailure::id).collect::<Vec<_>>(), [id]);
        assert!(stage.compared_pcrs().is_empty() && stage.evaluate(PcrMask::EMPTY).is_empty());
        assert!(!stage.log_failures()[0].detail().is_empty());
    }
    let log = encoded(LOG);
    let stage = judge.read(Some(&log), HashAlgorithm::Sha384);
    assert_eq!(stage.log_failures()[0].id(), "parser.invalid_pcrs_hashes");
    let stage = judge.read(Some(""), HashAlgorithm::Sha256);
    assert_eq!((stage.log(), stage.log_failures().len()), (BootLog::Absent, 0));
}

#[test]
fn a_policy_that_is_no_json_fails_every_evidence() {
    for (text, invalid) in [("x", true), ("null", true), ("{}", false), ("[]", false), ("0", false), ("", false)] {
        let policy = example(Some(text));
        let judge = BootJudge::new(&policy, &BootEvaluation::Once, BootOccasion::Later);
        let failures = judge.read(None, HashAlgorithm::Sha256).evaluate(PcrMask::EMPTY);
        assert_eq!(ids(&failures), if invalid { vec!["pcr_validation.invalid_mb_policy"] } else { vec![] }, "{text}");
    }
}

#[test]
fn a_rejection_names_the_event_and_what_would_help() {
    let mut state: serde_json::Value = serde_json::from_str(STATE).unwrap();
    state["kernels"][0]["grub_authcode_sha256"] = serde_json::json!(format!("0x{}", "00".repeat(32)));
    let policy = example(Some(&state.to_string()));
    let judge = BootJudge::new(&policy, &BootEvaluation::Once, BootOccasion::First);
    let log = encoded(LOG);
    let stage = judge.read(Some(&log), HashAlgorithm::Sha256);
    let failures = stage.evaluate(PcrMask::of(0..24));
    let [Failure::MeasuredBoot(failure)] = failures.as_slice() else { panic!("{failures:?}") };
    assert_eq!(failure.id(), "policy_example");
    let detail = failure.detail();
    assert!(detail.contains("(PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION"), "{detail}");
    assert!(detail.contains("bring it into the reference state") || detail.contains("bring them"), "{detail}");
    let missing = stage.evaluate(PcrMask::of(0..9));
    assert_eq!(ids(&missing), ["measured_boot.missing_pcrs"]);
}
