use super::*;
use crate::algorithm::{Digest, HashAlgorithm};
use crate::measured_boot::MeasuredBootFailure;
use serde_json::Value;
use std::sync::LazyLock;

const CHECK_PCRS: &str = include_str!("../../../tests/data/check_pcrs.json");

fn bank(values: &Value) -> PcrBank {
    let values =
        values.as_object().unwrap().iter().map(|(pcr, value)| {
            (pcr.parse().unwrap(), Digest::from_slice(&hex::decode(value.as_str().unwrap()).unwrap()))
        });
    PcrBank::from_values(HashAlgorithm::Sha256, values)
}

/// Policies to judge by; a context borrows them.
#[derive(Default)]
struct Terms {
    tpm_policy: TpmPolicy,
    ima_state: ImaState,
}

static NO_POLICY: LazyLock<CompiledRuntimePolicy> = LazyLock::new(CompiledRuntimePolicy::absent);

impl Terms {
    fn with(tpm_policy: &str) -> Self {
        Self { tpm_policy: TpmPolicy::parse(tpm_policy).unwrap(), ..Self::default() }
    }

    fn context(&self) -> PcrContext<'_> {
        PcrContext {
            tpm_policy: &self.tpm_policy,
            requested: PcrMask::EMPTY,
            payload_key: None,
            ima_list: None,
            ima_state: &self.ima_state,
            ima: ImaTerms {
                policy: &NO_POLICY,
                keyring: None,
                keyring_use: KeyringUse::Considered,
                options: ImaOptions::default(),
            },
            boot: None,
        }
    }
}

fn judge(pcrs: &PcrBank, context: &PcrContext<'_>) -> Vec<String> {
    judge_pcrs(pcrs, context).failures.iter().map(Failure::event_id).collect()
}

#[test]
fn recorded_cases_without_boot_policy_get_the_recorded_failures() {
    let file: Value = serde_json::from_str(CHECK_PCRS).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let tpm_policy = TpmPolicy::parse(case["tpm_policy"].as_str().unwrap());
        if case["expected"] == "exception" {
            assert!(tpm_policy.is_err(), "{}", case["id"]);
            continue;
        }
        let terms = Terms { tpm_policy: tpm_policy.unwrap(), ..Terms::default() };
        let runtime_policy = match case["runtime_policy"].as_str() {
            Some(text) => CompiledRuntimePolicy::compile(text).unwrap(),
            None => CompiledRuntimePolicy::empty(),
        };
        let mut context = terms.context();
        context.payload_key = case["data"].as_str();
        context.ima_list = case["ima_list"].as_str();
        context.ima.policy = &runtime_policy;
        let expected: Vec<&str> = case["failures"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(judge(&bank(&case["quote_pcrs_sha256"]), &context), expected, "{}", case["id"]);
    }
}

#[test]
fn a_pcr_that_was_asked_for_must_be_quoted() {
    let pcrs = bank(&serde_json::json!({ "0": "00".repeat(32) }));
    let terms = Terms::with(r#"{"5":["aa"],"24":["aa"]}"#);
    let context = PcrContext { requested: PcrMask::of([0, 1, 10]), ..terms.context() };
    let missing = Failure::Pcr(PcrFailure::Missing(vec![1, 5, 10, 24]));
    assert_eq!(judge_pcrs(&pcrs, &context).failures, [missing]);
}

#[test]
fn without_a_list_the_ima_pcr_fails() {
    let pcrs = bank(&serde_json::json!({ "10": "00".repeat(32) }));
    let terms = Terms::default();
    assert_eq!(judge(&pcrs, &terms.context()), ["pcr_validation.unused_pcr_10"]);
    assert!(judge(&pcrs, &PcrContext { ima_list: Some(""), ..terms.context() }).is_empty());
}

/// A boot log of which PCR 1 does not fit, under a policy that compares PCRs 0 and 1 and rejects.
struct RecordedBoot(BootLog);

impl BootStage for RecordedBoot {
    fn log(&self) -> BootLog {
        self.0
    }

    fn log_failures(&self) -> &[MeasuredBootFailure] {
        &[]
    }

    fn boot_aggregates(&self) -> &[Digest] {
        &[]
    }

    fn compared_pcrs(&self) -> PcrMask {
        PcrMask::of([0, 1, 9])
    }

    fn compare(&self, bank: HashAlgorithm, pcr: u8, quoted: &Digest) -> Option<MeasuredBootFailure> {
        let expected = Digest::filled(pcr * 2, bank.digest_len());
        (*quoted != expected).then(|| MeasuredBootFailure::NotBase64(format!("pcr {pcr}")))
    }

    fn evaluate(&self, judged: PcrMask) -> Vec<Failure> {
        vec![Failure::MeasuredBoot(MeasuredBootFailure::NotBase64(format!("judged {judged}")))]
    }
}

#[test]
fn the_boot_log_is_asked_in_the_references_order() {
    let pcrs = bank(&serde_json::json!({ "0": "00".repeat(32), "1": "00".repeat(32), "5": "00".repeat(32) }));
    let terms = Terms::with(r#"{"1":["aa"],"5":["aa"]}"#);
    let sent = RecordedBoot(BootLog::Sent);
    assert_eq!(
        judge(&pcrs, &PcrContext { boot: Some(&sent), ..terms.context() }),
        [
            "pcr_validation.invalid_pcr_1",
            "pcr_validation.invalid_pcr_5",
            "measured_boot.parser.log.base64decode",
            "measured_boot.parser.log.base64decode",
        ]
    );
    let absent = RecordedBoot(BootLog::Absent);
    assert_eq!(
        judge(&pcrs, &PcrContext { boot: Some(&absent), ..Terms::default().context() }),
        ["pcr_validation.unused_pcr_0", "pcr_validation.unused_pcr_1", "measured_boot.parser.log.base64decode",]
    );
}
