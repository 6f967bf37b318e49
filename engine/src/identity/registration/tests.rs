//! The decision against captured registrations of the reference's agents, and against everything that must be refused.

use super::*;
use crate::identity::certificate_store::CertificateStore;
use proptest::prelude::*;
use serde_json::json;

const AGENT: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).expect("vectors are JSON")
}

fn base() -> Map<String, Value> {
    let data = vectors(include_str!("../../../tests/data/registration.json"));
    data["register_body"].as_object().expect("an object").clone()
}

fn other_ak() -> Value {
    vectors(include_str!("../../../tests/data/registration.json"))["other_aik_tpm"].clone()
}

fn with(changes: Value) -> Map<String, Value> {
    let mut members = base();
    for (name, value) in changes.as_object().expect("an object") {
        members.insert(name.clone(), value.clone());
    }
    members
}

fn without(name: &str) -> Map<String, Value> {
    let mut members = base();
    members.shift_remove(name);
    members
}

fn entropy(fill: u8) -> RegistrationEntropy {
    RegistrationEntropy { challenge: [fill; CHALLENGE_ENTROPY_BYTES], seal: [fill; SEAL_ENTROPY_BYTES] }
}

fn attempt(members: &Map<String, Value>, stored: Option<&Registration>) -> Result<Accepted, Refusal> {
    attempt_with(AGENT, members, stored, RegistrationRules::default(), &CertificateStore::default())
}

fn attempt_with(
    agent_id: &str,
    members: &Map<String, Value>,
    stored: Option<&Registration>,
    rules: RegistrationRules,
    authorities: &CertificateStore,
) -> Result<Accepted, Refusal> {
    let agent_id = AgentId::parse(agent_id).expect("an id");
    register(&RegistrationRequest { agent_id: &agent_id, members, stored, authorities }, rules, &entropy(7))
}

fn registered() -> Registration {
    attempt(&base(), None).expect("the captured registration is accepted").registration
}

#[test]
fn a_captured_registration_is_accepted_and_stored_as_the_reference_stores_it() {
    let accepted = attempt(&base(), None).unwrap();
    let row = accepted.registration;
    assert_eq!(row.ek_tpm.as_deref(), base()["ek_tpm"].as_str());
    assert_eq!(row.aik_tpm.as_deref(), base()["aik_tpm"].as_str());
    assert!(row.ekcert.as_deref().unwrap().starts_with("MII"), "der in base64 without pem header");
    assert_eq!(row.port, Some(31896));
    assert_eq!((row.regcount, row.active), (1, false));
    assert_eq!(row.challenge.unwrap().len(), 44);
    assert_eq!(STANDARD.decode(accepted.blob).unwrap().len(), 336);
    assert_eq!(accepted.warnings, Vec::<String>::new());
}

#[test]
fn the_right_tag_activates_and_every_other_does_not() {
    let agent_id = AgentId::parse(AGENT).unwrap();
    let row = registered();
    let challenge = STANDARD.decode(row.challenge.as_deref().unwrap()).unwrap();
    let tag = crate::identity::credential_challenge::auth_tag(&challenge, &agent_id);
    let active = activate(&agent_id, &row, &tag).unwrap();
    assert!(active.active);
    assert_eq!(activate(&agent_id, &active, &tag).unwrap(), active, "the same tag again is no fault");
    for wrong in ["", "00", &tag.to_uppercase(), &tag[1..]] {
        assert!(activate(&agent_id, &row, wrong).is_err());
    }
    assert!(activate(&AgentId::parse("another").unwrap(), &row, &tag).is_err());
    let shown = format!("{row:?}");
    assert!(!shown.contains(row.challenge.as_deref().unwrap()) && !shown.contains(&tag));
    assert!(activate(&agent_id, &Registration { challenge: None, ..row }, &tag).is_err());
}

#[test]
fn registering_again_counts_and_deactivates() {
    let row = Registration { active: true, ..registered() };
    let again = attempt(&base(), Some(&row)).unwrap().registration;
    assert_eq!((again.regcount, again.active), (2, false));
    let moved = attempt(&with(json!({"ip": "10.0.0.1", "port": "9002", "mtls_cert": "DISABLED"})), Some(&row)).unwrap();
    assert_eq!(moved.registration.ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(moved.registration.port, Some(9002));
    assert_eq!(moved.registration.mtls_cert.as_deref(), Some("disabled"));
}

#[test]
fn cve_2025_13609_an_identity_never_changes_under_its_id() {
    let row = registered();
    for members in [
        with(json!({"aik_tpm": other_ak()})),
        with(json!({"ekcert": ""})),
        with(json!({"ekcert": null})),
        with(json!({"ekcert": base()["mtls_cert"]})),
        with(json!({"ek_tpm": null})),
        with(json!({"ek_tpm": base()["aik_tpm"]})),
        with(json!({"aik_tpm": other_ak(), "port": "abc"})),
    ] {
        assert!(matches!(attempt(&members, Some(&row)), Err(Refusal::IdentityChanged(_))), "{members:?}");
    }
    assert!(attempt(&without("ekcert"), Some(&row)).is_ok(), "an absent member keeps what is stored");
    let uncertified = attempt(&with(json!({"ekcert": ""})), None).unwrap().registration;
    assert_eq!(uncertified.ekcert, None);
    assert!(attempt(&base(), Some(&uncertified)).is_ok(), "a certificate may come later");
}

#[test]
fn cve_2021_3406_the_challenged_key_is_the_certified_one() {
    let other_ek = vectors(include_str!("../../../tests/data/registration.json"))["other_ek_tpm"].clone();
    let refused = attempt(&with(json!({"ek_tpm": other_ek})), None);
    assert_eq!(refused, Err(Refusal::Invalid(vec!["ekcert: certifies another key than ek_tpm".to_owned()])));
    let uncertified = attempt(&with(json!({"ek_tpm": other_ek, "ekcert": ""})), None).unwrap().registration;
    let refused = attempt(&with(json!({"ek_tpm": other_ek})), Some(&uncertified));
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "a certificate that comes later is compared too");
}

#[test]
fn cve_2021_3406_an_ak_lacking_any_attribute_is_refused() {
    // The attributes are the four bytes after size, type and name algorithm (TPM 2.0 Part 2, 12.2.4).
    let ak = STANDARD.decode(base()["aik_tpm"].as_str().unwrap()).unwrap();
    for bit in [0x2_u32, 0x10, 0x20, 0x1_0000, 0x4_0000] {
        let mut changed = ak.clone();
        let attributes = u32::from_be_bytes(changed[6..10].try_into().unwrap());
        assert_eq!(attributes, 0x5_0072);
        changed[6..10].copy_from_slice(&(attributes & !bit).to_be_bytes());
        let refused = attempt(&with(json!({"aik_tpm": STANDARD.encode(changed)})), None);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "without {bit:#x}");
    }
    let swapped = with(json!({"ek_tpm": base()["aik_tpm"], "ekcert": "", "aik_tpm": base()["ek_tpm"]}));
    assert!(matches!(attempt(&swapped, None), Err(Refusal::Invalid(_))));
}

#[test]
fn members_that_are_missing_or_malformed_are_refused_with_a_reason() {
    for (changes, reason) in [
        (json!({"aik_tpm": null}), "aik_tpm: must not be null"),
        (json!({"aik_tpm": "!!!"}), "aik_tpm: neither base64 nor hexadecimal"),
        (json!({"aik_tpm": "AAAA"}), "aik_tpm: "),
        (json!({"aik_tpm": "AAA="}), "aik_tpm: "),
        (json!({"aik_tpm": "AARhYmNk"}), "aik_tpm: "),
        (json!({"ek_tpm": "AAAA"}), "ek_tpm: "),
        (json!({"ekcert": "junk"}), "ekcert: "),
        (json!({"mtls_cert": "junk"}), "mtls_cert: "),
        (json!({"port": "abc"}), "port: not an integer"),
        (json!({"ip": 5}), "ip: not a text"),
    ] {
        let Err(Refusal::Invalid(errors)) = attempt(&with(changes.clone()), None) else { panic!("{changes}") };
        assert!(errors.iter().any(|error| error.starts_with(reason)), "{changes}: {errors:?}");
        assert_eq!(errors.iter().filter(|error| error.ends_with("is required")).count(), 0, "{errors:?}");
    }
    for name in ["ek_tpm", "aik_tpm"] {
        let Err(Refusal::Invalid(errors)) = attempt(&without(name), None) else { panic!("{name}") };
        assert!(errors[0].starts_with(name), "{errors:?}");
    }
    assert!(matches!(attempt(&Map::new(), None), Err(Refusal::Invalid(_))));
}

#[test]
fn keys_may_be_hexadecimal_with_a_prefix() {
    let ak = STANDARD.decode(base()["aik_tpm"].as_str().unwrap()).unwrap();
    let row = attempt(&with(json!({"aik_tpm": format!("0x{}", hex::encode(&ak))})), None).unwrap().registration;
    assert_eq!(row.aik_tpm, registered().aik_tpm);
    // Without it the text is base64 as well, and read as such.
    assert!(attempt(&with(json!({"aik_tpm": hex::encode(ak)})), None).is_err());
}

#[test]
fn a_malformed_certificate_is_judged_by_the_option() {
    let text = base()["ekcert"].as_str().unwrap().replace("-----BEGIN CERTIFICATE-----", "");
    let body: String = text.replace("-----END CERTIFICATE-----", "").split_whitespace().collect();
    let mut der = STANDARD.decode(body).unwrap();
    // Zeros after the certificate, as an NV index larger than its content has them.
    der.extend_from_slice(&[0; 8]);
    let padded = with(json!({"ekcert": STANDARD.encode(&der)}));
    for (action, accepted, warnings) in [
        (MalformedCertificateAction::Warn, true, 1),
        (MalformedCertificateAction::Ignore, true, 0),
        (MalformedCertificateAction::Reject, false, 0),
    ] {
        let rules = RegistrationRules { malformed_certificates: action, ..RegistrationRules::default() };
        let outcome = attempt_with(AGENT, &padded, None, rules, &CertificateStore::default());
        assert_eq!(outcome.is_ok(), accepted, "{action:?}");
        if let Ok(outcome) = outcome {
            assert_eq!(outcome.warnings.len(), warnings, "{action:?}");
            assert_eq!(outcome.registration.ekcert.unwrap(), STANDARD.encode(&der), "the bytes as they came");
        }
    }
}

/// A registration with IAK and IDevID, and the store that holds their authority.
fn device() -> (Value, Map<String, Value>, CertificateStore) {
    let data = vectors(include_str!("../../../tests/data/certify.json"));
    let members = data["register_body"].as_object().unwrap().clone();
    let (store, skipped) = CertificateStore::from_pem_files([("ca.pem", data["ca_pem"].as_str().unwrap())]);
    assert_eq!(skipped, []);
    (data, members, store)
}

#[test]
fn a_device_identity_is_accepted_only_from_a_known_authority() {
    let (data, members, store) = device();
    let agent_id = data["agent_id"].as_str().unwrap();
    let demanded = RegistrationRules { tpm_identity: TpmIdentity::DeviceIdentity, ..RegistrationRules::default() };
    let accepted = attempt_with(agent_id, &members, None, demanded, &store).unwrap();
    assert!(accepted.registration.iak_cert.is_some());
    let unknown = attempt_with(agent_id, &members, None, demanded, &CertificateStore::default());
    let Err(Refusal::Invalid(errors)) = unknown else { panic!("an unknown authority is accepted") };
    assert_eq!(errors.len(), 2, "{errors:?}");
    for name in ["iak_cert", "idevid_cert", "iak_tpm", "idevid_tpm", "iak_attest", "iak_sign"] {
        let mut incomplete = members.clone();
        incomplete.shift_remove(name);
        assert!(attempt_with(agent_id, &incomplete, None, demanded, &store).is_err(), "without {name}");
    }
    let crossed = {
        let mut crossed = members.clone();
        crossed.insert("iak_cert".to_owned(), members["idevid_cert"].clone());
        crossed
    };
    assert!(attempt_with(agent_id, &crossed, None, demanded, &store).is_err());
    assert!(attempt_with(AGENT, &base(), None, demanded, &store).is_err(), "an ek alone is not enough");
}

#[test]
fn the_certification_of_the_ak_gets_the_verdicts_of_the_reference() {
    let (data, members, store) = device();
    for case in data["cases"].as_array().unwrap() {
        let mut changed = members.clone();
        for (name, value) in case["changed"].as_object().unwrap() {
            changed.insert(name.clone(), value.clone());
        }
        let agent_id = case["agent_id"].as_str().unwrap();
        let outcome = attempt_with(agent_id, &changed, None, RegistrationRules::default(), &store);
        assert_eq!(outcome.is_ok(), case["expect"]["result"] == true, "{}: {outcome:?}", case["name"]);
    }
}

#[test]
fn options_are_read_as_documented() {
    assert_eq!(TpmIdentity::from_option("iak_idevid"), TpmIdentity::DeviceIdentity);
    assert_eq!(TpmIdentity::from_option("ek_cert"), TpmIdentity::Ek);
    assert_eq!(TpmIdentity::from_option("ek_cert_or_iak_idevid"), TpmIdentity::EkOrDeviceIdentity);
    assert_eq!(TpmIdentity::from_option("default"), TpmIdentity::EkOrDeviceIdentity);
    assert_eq!(MalformedCertificateAction::from_option("reject"), MalformedCertificateAction::Reject);
    assert_eq!(MalformedCertificateAction::from_option("ignore"), MalformedCertificateAction::Ignore);
    assert_eq!(MalformedCertificateAction::from_option("warn"), MalformedCertificateAction::Warn);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// CVE-2021-3406 and CVE-2025-13609: a stored identity survives every change of one byte of its parts.
    #[test]
    fn any_changed_byte_of_the_identity_is_refused(name in prop::sample::select(vec!["ek_tpm", "aik_tpm"]), at in 0..280_usize, flip in 1..=255_u8) {
        let row = registered();
        let mut key = STANDARD.decode(base()[name].as_str().unwrap()).unwrap();
        let at = at % key.len();
        key[at] ^= flip;
        let refused = attempt(&with(json!({name: STANDARD.encode(&key)})), Some(&row));
        prop_assert_eq!(refused, Err(Refusal::IdentityChanged(name)));
    }

    /// On a first registration, no changed EK passes beside its certificate.
    #[test]
    fn any_changed_byte_of_the_ek_contradicts_its_certificate(at in 0..316_usize, flip in 1..=255_u8) {
        let mut key = STANDARD.decode(base()["ek_tpm"].as_str().unwrap()).unwrap();
        let at = at % key.len();
        let policy = 10..12 + 32;
        prop_assume!(!policy.contains(&at) && !(6..10).contains(&at));
        key[at] ^= flip;
        // Symmetric key size and similar parameters are no part of the certificate and bind only the challenge.
        let parameters = 44..=51;
        prop_assume!(!parameters.contains(&at));
        let outcome = attempt(&with(json!({"ek_tpm": STANDARD.encode(&key)})), None);
        let name_algorithm = (4..6).contains(&at);
        prop_assert!(outcome.is_err() || name_algorithm);
    }

    #[test]
    fn any_members_are_judged_without_a_panic(text in "\\PC{0,40}", number in any::<i64>(), name in prop::sample::select(vec![
        "ek_tpm", "aik_tpm", "iak_tpm", "idevid_tpm", "ekcert", "iak_cert", "idevid_cert", "mtls_cert", "iak_attest", "ip", "port",
    ])) {
        let _ = attempt(&with(json!({name: text})), None);
        let _ = attempt(&with(json!({name: number})), None);
        let _ = attempt(&with(json!({name: [text]})), None);
    }
}
