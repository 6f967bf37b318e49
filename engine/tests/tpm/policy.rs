//! `tpm_policy` as operators write it, algorithm acceptance, and the data PCR.

use crate::vectors::{list, load, text};
use keylime_engine::algorithm::{HashAlgorithm, is_accepted};
use keylime_engine::policy::tpm_policy::{TpmPolicy, read_operator_policy};
use keylime_engine::tpm::data_pcr::extended_once;
use serde_json::Value;

const NAMES: &str = include_str!("../data/policy_and_names.json");

#[test]
fn operator_policies_are_read_as_recorded() {
    for case in list(&load(NAMES), "tpm_policy_read") {
        let outcome = read_operator_policy(text(case, "input"));
        match case.get("result") {
            Some(expected) => {
                let policy = outcome.unwrap();
                assert_eq!(&Value::Object(policy.clone()), expected, "{case}");
                if !text(case, "input").contains("24") {
                    TpmPolicy::parse(&Value::Object(policy).to_string()).unwrap();
                }
            }
            None if case["exception"] == "Exception" => {
                assert_eq!(outcome.unwrap_err().to_string(), text(case, "message"), "{case}");
            }
            None => assert!(outcome.is_err(), "{case}"),
        }
    }
}

#[test]
fn names_and_data_pcrs_are_the_recorded_ones() {
    let file = load(NAMES);
    for case in list(&file, "algorithm_accepted") {
        let accepted: Vec<&str> = list(case, "accepted_list").iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(is_accepted(text(case, "alg"), &accepted), case["result"].as_bool().unwrap(), "{case}");
    }
    for case in list(&file, "hash_recognized") {
        let recognised = HashAlgorithm::from_name(text(case, "name")).is_some();
        assert_eq!(recognised, case["recognized"].as_bool().unwrap(), "{case}");
    }
    for case in list(&file, "data_pcr_extend") {
        let hash = HashAlgorithm::from_name(text(case, "hash_alg")).unwrap();
        assert_eq!(extended_once(hash, text(case, "data").as_bytes()).to_hex(), text(case, "pcr16_hex"), "{case}");
    }
}
