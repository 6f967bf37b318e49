//! Whole answers of real agents through the top functions.

use crate::vectors::{list, load, text};
use keylime_engine::appraise::{
    AcceptedAlgorithms, EvidenceContext, OneShotQuote, PullContext, appraise_evidence, appraise_identity,
    appraise_pull_reply,
};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::ima::{ImaOptions, ImaState};
use keylime_engine::lifecycle::{Extent, Verdict};
use keylime_engine::policy::CompiledRuntimePolicy;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::QuoteFailure;
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use keylime_engine::verdict::{Failure, Failures};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static FILE: LazyLock<Value> = LazyLock::new(|| load(include_str!("../data/quotes.json")));

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// What an agent was asked and is judged by; the parts that tests vary.
struct Setup {
    key: AttestationKey,
    nonce: String,
    tpm_policy: TpmPolicy,
    runtime_policy: CompiledRuntimePolicy,
    ima: ImaState,
    clock: ClockInfo,
    known_key: Option<String>,
    accepted: [Vec<String>; 3],
    results: Value,
}

impl Setup {
    fn of(case: &Value) -> Self {
        let mask = if text(case, "name").ends_with("integrity") { "0x40f" } else { "0x0" };
        Self {
            key: AttestationKey::from_base64(text(case, "aik_tpm")).unwrap(),
            nonce: text(case, "nonce").to_owned(),
            tpm_policy: TpmPolicy::parse(&json!({ "mask": mask }).to_string()).unwrap(),
            runtime_policy: CompiledRuntimePolicy::absent(),
            ima: ImaState::default(),
            clock: ClockInfo::default(),
            known_key: None,
            accepted: [
                names(&["sha512", "sha384", "sha256", "sha1"]),
                names(&["ecc", "rsa", "ecc384", "ecc521", "rsa3072"]),
                names(&["ecschnorr", "rsassa", "ecdsa", "rsapss"]),
            ],
            results: case["response"].clone(),
        }
    }

    fn integrity() -> Self {
        Self::of(&list(&FILE, "quotes")[1])
    }

    fn judge(&self) -> Verdict {
        self.judge_body(json!({ "code": 200, "status": "Success", "results": self.results }).to_string().as_bytes())
    }

    fn judge_body(&self, body: &[u8]) -> Verdict {
        let context = PullContext {
            attestation_key: &self.key,
            nonce: &self.nonce,
            encoding: QuoteEncoding::Plain,
            known_payload_key: self.known_key.as_deref(),
            accepted: AcceptedAlgorithms { hash: &self.accepted[0], enc: &self.accepted[1], sign: &self.accepted[2] },
            tpm_policy: &self.tpm_policy,
            runtime_policy: &self.runtime_policy,
            agent_keyring: None,
            ima_options: ImaOptions::default(),
            ima: &self.ima,
            clock: self.clock,
            boot: None,
        };
        appraise_pull_reply(body, &context)
    }

    /// The event ids of the failed verdict.
    fn failures(&self) -> Vec<String> {
        match self.judge() {
            Verdict::Failed { failures, .. } => ids(&failures),
            other => panic!("no failure: {other:?}"),
        }
    }
}

fn passed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Passed { .. })
}

fn ids(failures: &Failures) -> Vec<String> {
    failures.as_slice().iter().map(Failure::event_id).collect()
}

#[test]
fn answers_of_real_agents_get_the_recorded_verdict() {
    for case in list(&FILE, "quotes") {
        let name = text(case, "name");
        let setup = Setup::of(case);
        match setup.judge() {
            Verdict::Passed { clock, ima, payload_key, algorithms } => {
                assert!(case["expect"]["valid"].as_bool().unwrap(), "{name}");
                assert_eq!(serde_json::to_value(clock).unwrap(), case["expect"]["clockInfo"], "{name}");
                assert_eq!(payload_key.as_deref(), case["response"]["pubkey"].as_str(), "{name}");
                assert_eq!(&*algorithms.hash, text(&case["response"], "hash_alg"), "{name}");
                let entries = case["response"]["ima_measurement_list"].as_str().map_or(0, |l| l.lines().count());
                assert_eq!(ima.next_entry, entries as u64, "{name}");
            }
            Verdict::Failed { failures, extent, .. } => {
                assert!(!case["expect"]["valid"].as_bool().unwrap(), "{name}: {failures:?}");
                let error = QuoteFailure::Invalid(text(&case["expect"], "error").to_owned());
                assert_eq!(failures.as_slice(), [Failure::Quote(error)], "{name}");
                assert!(matches!(extent, Extent::Judged(_)), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn incomplete_answers_are_rejected_before_the_quote() {
    let rejected = |change: &dyn Fn(&mut Setup)| {
        let mut setup = Setup::integrity();
        change(&mut setup);
        match setup.judge() {
            Verdict::Failed { failures, extent: Extent::Rejected, ima } => {
                assert_eq!(ima, setup.ima);
                ids(&failures)
            }
            other => panic!("not rejected: {other:?}"),
        }
    };
    let remove = |key: &'static str| {
        move |setup: &mut Setup| {
            setup.results.as_object_mut().unwrap().remove(key);
        }
    };
    assert_eq!(rejected(&remove("quote")), ["qoute_validation.invalid_data"]);
    assert_eq!(rejected(&remove("pubkey")), ["qoute_validation.no_pubkey"]);
    assert_eq!(rejected(&remove("hash_alg")), ["qoute_validation.invalid_hash_alg"]);
    assert_eq!(rejected(&remove("enc_alg")), ["qoute_validation.invalid_enc_alg"]);
    assert_eq!(rejected(&remove("sign_alg")), ["qoute_validation.invalid_sign_alg"]);
    assert_eq!(rejected(&|s| s.results["quote"] = json!(7)), ["qoute_validation.invalid_data"]);
    assert_eq!(rejected(&|s| s.accepted[0] = names(&["sha512"])), ["qoute_validation.invalid_hash_alg"]);
    assert_eq!(rejected(&|s| s.accepted[1] = names(&["ecc"])), ["qoute_validation.invalid_enc_alg"]);
    assert_eq!(rejected(&|s| s.accepted[2] = names(&["ecdsa"])), ["qoute_validation.invalid_sign_alg"]);
    assert_eq!(
        rejected(&|s| {
            s.accepted[0] = names(&["md5"]);
            s.results["hash_alg"] = json!("md5");
        }),
        ["qoute_validation.invalid_hash_alg"]
    );
}

#[test]
fn uninterpretable_answers_are_no_verdict_on_the_quote() {
    let mut setup = Setup::integrity();
    setup.results["quote"] = json!("x");
    assert!(matches!(setup.judge(), Verdict::Unreadable(text) if text == "Invalid quote type x"));
    setup.results["boottime"] = json!("1");
    assert!(matches!(setup.judge(), Verdict::Unreadable(_)));
    let invalid = setup.judge_body(b"<html>");
    assert!(matches!(invalid, Verdict::Failed { failures, .. } if ids(&failures) == ["qoute_validation.invalid_data"]));
}

#[test]
fn the_payload_key_may_be_known_but_must_be_the_bound_one() {
    let mut setup = Setup::integrity();
    setup.known_key = Some(text(&setup.results, "pubkey").to_owned());
    setup.results.as_object_mut().unwrap().remove("pubkey");
    assert!(matches!(setup.judge(), Verdict::Passed { payload_key: None, .. }));
    setup.known_key = Some("another key".to_owned());
    assert_eq!(setup.failures(), ["pcr_validation.invalid_pcr_16"]);
    setup.results["pubkey"] = json!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    assert_eq!(setup.failures(), ["pcr_validation.invalid_pcr_16"]);
}

#[test]
fn pcrs_and_lists_are_judged() {
    let mut setup = Setup::integrity();
    setup.tpm_policy = TpmPolicy::parse(r#"{"0":["aa"],"1":["bb"],"22":["cc"],"mask":"0x40f"}"#).unwrap();
    assert_eq!(
        setup.failures(),
        ["pcr_validation.invalid_pcr_0", "pcr_validation.invalid_pcr_1", "pcr_validation.missing_pcrs"]
    );
    setup.tpm_policy = TpmPolicy::parse(r#"{"mask":"0x80040f"}"#).unwrap();
    assert_eq!(setup.failures(), ["pcr_validation.missing_pcrs"], "a requested PCR was left out");
    let mut setup = Setup::integrity();
    setup.results.as_object_mut().unwrap().remove("ima_measurement_list");
    assert_eq!(setup.failures(), ["pcr_validation.unused_pcr_10"]);
    setup.results["ima_measurement_list"] = json!("");
    assert_eq!(setup.failures(), ["ima.pcr_mismatch"]);
    let mut setup = Setup::integrity();
    setup.runtime_policy = CompiledRuntimePolicy::empty();
    assert!(setup.failures().iter().all(|id| id == "ima.validation.ima-ng.not_in_allowlist"));
}

#[test]
fn lists_continue_where_they_were_asked_to() {
    let mut setup = Setup::integrity();
    let Verdict::Passed { ima, clock, .. } = setup.judge() else { panic!("a good quote failed") };
    assert!(ima.next_entry > 0);
    setup.ima = ima.clone();
    setup.results["ima_measurement_list"] = json!("");
    setup.results["ima_measurement_list_entry"] = json!(ima.next_entry);
    assert!(matches!(setup.judge(), Verdict::Passed { ima: after, .. } if after.next_entry == ima.next_entry));

    setup.results["boottime"] = json!(1234);
    let Verdict::BoottimeChanged { ima: fresh } = setup.judge() else { panic!("a reboot went unnoticed") };
    assert_eq!(fresh, ImaState { boottime: 1234, ..ImaState::default() });

    setup.results["ima_measurement_list_entry"] = json!(ima.next_entry + 1);
    assert_eq!(setup.failures(), ["qoute_validation.invalid_ima_entry_nb"]);
    setup.results["ima_measurement_list_entry"] = json!(-1);
    assert_eq!(setup.failures(), ["qoute_validation.invalid_ima_entry_nb"]);

    let mut setup = Setup::integrity();
    setup.clock = clock;
    assert_eq!(setup.failures(), ["qoute_validation.quote_validation"], "the same clock twice is a replay");
}

#[test]
fn what_a_failed_evidence_taught_is_dropped() {
    let mut setup = Setup::integrity();
    setup.tpm_policy = TpmPolicy::parse(r#"{"0":["aa"],"mask":"0x40f"}"#).unwrap();
    let Verdict::Failed { ima, .. } = setup.judge() else { panic!("passed") };
    assert_eq!(ima, ImaState::default());
}

#[test]
fn one_shot_evidence_is_judged_without_an_agent() {
    let case = &list(&FILE, "quotes")[1];
    let response = &case["response"];
    let key = AttestationKey::from_base64(text(case, "aik_tpm")).unwrap();
    let quote = OneShotQuote {
        quote: text(response, "quote"),
        nonce: text(case, "nonce"),
        hash_alg: text(response, "hash_alg"),
        attestation_key: &key,
    };
    assert!(appraise_identity(&quote).is_ok());
    let wrong = OneShotQuote { nonce: "other", ..quote };
    assert!(matches!(appraise_identity(&wrong), Err(QuoteFailure::Invalid(_))));
    let unknown = OneShotQuote { hash_alg: "md5", ..quote };
    assert!(matches!(appraise_identity(&unknown), Err(QuoteFailure::UnknownHashAlg(_))));
    let odd = OneShotQuote { quote: "x", ..quote };
    assert!(matches!(appraise_identity(&odd), Err(QuoteFailure::InvalidQuote(_))));

    let context = EvidenceContext {
        tpm_policy: &TpmPolicy::parse(r#"{"0":["aa"],"mask":"0xffffff"}"#).unwrap(),
        runtime_policy: &CompiledRuntimePolicy::absent(),
        ima_options: ImaOptions::default(),
        ima_list: text(response, "ima_measurement_list"),
        boot_log: None,
        boot: None,
    };
    assert_eq!(ids(&appraise_evidence(&quote, &context).unwrap()), ["pcr_validation.invalid_pcr_0"]);
    let unbound = EvidenceContext { tpm_policy: &TpmPolicy::default(), ..context };
    assert_eq!(appraise_evidence(&quote, &unbound), None);
    let no_list = EvidenceContext { ima_list: "", ..unbound };
    assert_eq!(ids(&appraise_evidence(&quote, &no_list).unwrap()), ["ima.pcr_mismatch"]);
    assert_eq!(ids(&appraise_evidence(&wrong, &unbound).unwrap()), ["qoute_validation.quote_validation"]);
}

proptest! {
    #[test]
    fn cve_2023_3674_no_edited_quote_or_nonce_passes(position in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9+/=:!]") {
        let mut setup = Setup::integrity();
        let original = text(&setup.results, "quote").to_owned();
        let position = position.index(original.len());
        let mut edited = original.clone();
        edited.replace_range(position..=position, &replacement);
        setup.results["quote"] = json!(edited);
        if passed(&setup.judge()) {
            // The edit said nothing: an unused slot of the blob, or another spelling of the same base64.
            let decode = |text: &str| QuoteParts::decode(text, QuoteEncoding::Plain).unwrap();
            let (before, after) = (decode(&original), decode(text(&setup.results, "quote")));
            prop_assert_eq!((before.attest, before.signature), (after.attest, after.signature));
        }
        let mut setup = Setup::integrity();
        let place = position % setup.nonce.len();
        if setup.nonce[place..=place] != replacement {
            setup.nonce.replace_range(place..=place, &replacement);
            prop_assert!(!passed(&setup.judge()));
        }
    }

    #[test]
    fn any_body_gets_a_verdict_that_is_not_a_pass(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!passed(&Setup::integrity().judge_body(&body)));
    }

    #[test]
    fn any_results_get_a_verdict_that_is_not_a_pass(quote in ".{0,80}", entry in any::<i64>(), boottime in any::<i64>()) {
        let mut setup = Setup::integrity();
        setup.results["quote"] = json!(quote);
        setup.results["ima_measurement_list_entry"] = json!(entry);
        setup.results["boottime"] = json!(boottime);
        prop_assert!(!passed(&setup.judge()));
    }
}
