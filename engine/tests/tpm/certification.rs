//! TPM2_Certify of AKs by IAKs: a real registration, edits of it, and the other device identity templates.

use crate::vectors::{bytes, list, load, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::identity::certification::{
    CertificationError, CertificationExpectation, QualifyingData, verify_certification,
};
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::signature::SignatureScheme;

const CERTIFY: &str = include_str!("../data/certify.json");

fn judge(agent: &str, aik: &str, iak: &str, attest: &[u8], signature: &[u8]) -> Result<(), String> {
    let agent = AgentId::parse(agent).unwrap();
    let aik = AttestationKey::from_base64(aik).map_err(|e| e.to_string())?;
    let iak = AttestationKey::from_base64(iak).map_err(|e| e.to_string())?;
    let expected = CertificationExpectation {
        certified: aik.name(),
        qualifying: QualifyingData::Agent(&agent),
        scheme: None,
        hash: None,
    };
    verify_certification(attest, signature, &iak, &expected).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn recorded_registrations_get_the_recorded_verdict() {
    let file = load(CERTIFY);
    let body = &file["register_body"];
    assert_eq!(STANDARD.decode(text(body, "iak_attest")).unwrap(), bytes(&file, "iak_attest_hex"));
    for case in list(&file, "cases") {
        let name = text(case, "name");
        let field = |key: &str| case["changed"].get(key).unwrap_or(&body[key]).as_str().unwrap().to_owned();
        let decode = |key: &str| STANDARD.decode(field(key)).unwrap();
        let verdict = judge(
            text(case, "agent_id"),
            &field("aik_tpm"),
            &field("iak_tpm"),
            &decode("iak_attest"),
            &decode("iak_sign"),
        );
        let accepted = case["expect"]["result"].as_bool().unwrap_or(false);
        assert_eq!(verdict.is_ok(), accepted, "{name}: {verdict:?}");
        if name == "signature alg ECDSA with RSA key" {
            assert_eq!(verdict.unwrap_err(), text(&case["expect"], "message"));
        }
    }
    for case in list(&file, "other_templates") {
        let decode = |key: &str| STANDARD.decode(text(case, key)).unwrap();
        let (aik, iak) = (text(case, "aik_tpm"), text(case, "iak_tpm"));
        let verdict = judge(text(case, "agent_id"), aik, iak, &decode("iak_attest"), &decode("iak_sign"));
        assert_eq!(verdict, Ok(()), "{}", text(case, "template"));
    }
}

#[test]
fn agreed_algorithms_and_qualifying_data_are_enforced() {
    let file = load(CERTIFY);
    let body = &file["register_body"];
    let aik = AttestationKey::from_base64(text(body, "aik_tpm")).unwrap();
    let iak = AttestationKey::from_base64(text(body, "iak_tpm")).unwrap();
    let (attest, signature) = (bytes(&file, "iak_attest_hex"), bytes(&file, "iak_sign_hex"));
    let judge = |expected| verify_certification(&attest, &signature, &iak, &expected).map(|_| ());
    let expected = CertificationExpectation {
        certified: aik.name(),
        qualifying: QualifyingData::Any,
        scheme: Some(SignatureScheme::Rsapss),
        hash: Some(HashAlgorithm::Sha256),
    };
    assert_eq!(judge(expected), Ok(()));
    let other_scheme = CertificationExpectation { scheme: Some(SignatureScheme::Rsassa), ..expected };
    assert!(matches!(judge(other_scheme), Err(CertificationError::Algorithm { .. })));
    let other_hash = CertificationExpectation { hash: Some(HashAlgorithm::Sha384), ..expected };
    assert!(matches!(judge(other_hash), Err(CertificationError::Algorithm { .. })));
    let other_data = CertificationExpectation { qualifying: QualifyingData::Exact(b"x"), ..expected };
    assert_eq!(judge(other_data), Err(CertificationError::Qualifying));
    let digest = HashAlgorithm::Sha256.digest(&[text(&file, "agent_id").as_bytes()]);
    let exact = CertificationExpectation { qualifying: QualifyingData::Exact(digest.as_bytes()), ..expected };
    assert_eq!(judge(exact), Ok(()));
    let itself = CertificationExpectation { certified: iak.name(), ..expected };
    assert_eq!(judge(itself), Err(CertificationError::Name));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let file = load(CERTIFY);
    let case = &list(&file, "other_templates")[0];
    let (aik, iak, agent) = (text(case, "aik_tpm"), text(case, "iak_tpm"), text(case, "agent_id"));
    let attest = STANDARD.decode(text(case, "iak_attest")).unwrap();
    let signature = STANDARD.decode(text(case, "iak_sign")).unwrap();
    for position in 0..attest.len() {
        let mut edited = attest.clone();
        edited[position] ^= 1;
        assert!(judge(agent, aik, iak, &edited, &signature).is_err(), "attest byte {position}");
    }
    for position in 0..signature.len() {
        let mut edited = signature.clone();
        edited[position] ^= 1;
        assert!(judge(agent, aik, iak, &attest, &edited).is_err(), "signature byte {position}");
    }
}
