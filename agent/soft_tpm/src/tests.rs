use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::identity::certification::{CertificationExpectation, QualifyingData, verify_certification};
use keylime_engine::identity::credential_challenge::{
    CHALLENGE_ENTROPY_BYTES, CredentialChallenge, SEAL_ENTROPY_BYTES, auth_tag,
};
use keylime_engine::identity::endorsement_key::EndorsementKey;
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::data_pcr::extended_once;
use keylime_engine::tpm::quote::{ExpectedNonce, QuoteEncoding, QuoteError, QuoteExpectation, verify};
use keylime_engine::tpm::signature::SignatureScheme;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

fn tpms() -> Vec<SoftTpm> {
    let ecc = SoftTpm::new(
        EndorsementPair::p256_from_seed(&[1; 32]).unwrap().into(),
        AttestationPair::p256_from_seed(&[2; 32]).unwrap().into(),
        &[HashAlgorithm::Sha1, SHA256],
    );
    let rsa = SoftTpm::new(
        EndorsementPair::generate_rsa2048().unwrap().into(),
        AttestationPair::generate_rsa2048(SignatureScheme::Rsassa, SHA256).unwrap().into(),
        &[SHA256],
    );
    vec![ecc, rsa]
}

fn keys(tpm: &SoftTpm) -> (EndorsementKey, AttestationKey) {
    let ek = EndorsementKey::from_base64(&STANDARD.encode(tpm.endorsement().public())).unwrap();
    let ak = AttestationKey::from_tpm2b(tpm.attestation().public()).unwrap();
    assert_eq!(ek.public_key().to_spki_der().unwrap(), tpm.endorsement().spki());
    assert_eq!(ak.name(), tpm.attestation().name());
    (ek, ak)
}

#[test]
fn credentials_made_by_the_registrar_are_activated() {
    let agent = AgentId::parse("agent").unwrap();
    let all = tpms();
    for tpm in &all {
        let (ek, ak) = keys(tpm);
        let challenge = CredentialChallenge::mint(&[7; CHALLENGE_ENTROPY_BYTES]).unwrap();
        let blob = challenge.seal(&ek, &ak, &[8; SEAL_ENTROPY_BYTES]).unwrap();
        let activated = tpm.activate_credential(&blob).unwrap();
        assert_eq!(challenge.check_auth_tag(&agent, &auth_tag(&activated, &agent)), Ok(()));

        let other_ak = AttestationPair::p256_from_seed(&[9; 32]).unwrap();
        let impostor = SoftTpm::new(Arc::clone(&tpm.endorsement), other_ak.into(), &[SHA256]);
        assert_eq!(impostor.activate_credential(&blob), Err(SoftTpmError::Credential));
        for position in 0..blob.len() {
            let mut edited = blob.clone();
            edited[position] ^= 1;
            assert!(tpm.activate_credential(&edited).is_err(), "byte {position}");
        }
    }
    let (ek, ak) = keys(&all[0]);
    let challenge = CredentialChallenge::mint(&[7; CHALLENGE_ENTROPY_BYTES]).unwrap();
    let blob = challenge.seal(&ek, &ak, &[8; SEAL_ENTROPY_BYTES]).unwrap();
    assert_eq!(all[1].activate_credential(&blob), Err(SoftTpmError::Credential));
}

#[test]
fn quotes_verify_and_hold_what_was_extended() {
    for mut tpm in tpms() {
        let (_, ak) = keys(&tpm);
        tpm.measure(10, b"an event").unwrap();
        let mut clock = ClockInfo::default();
        for nonce in ["first", "second"] {
            let text = tpm.pull_quote(SHA256, PcrMask::of([0, 10, 17]), nonce, "key").unwrap();
            let parts = QuoteParts::decode(&text, QuoteEncoding::Plain).unwrap();
            let expected = QuoteExpectation { nonce: ExpectedNonce::Text(nonce), hash_alg: "sha256" };
            let quote = verify(&parts, &ak, &expected).unwrap();
            assert_eq!(quote.pcrs.mask(), PcrMask::of([0, 10, 16, 17]));
            assert_eq!(quote.pcrs.get(10), Some(&extended_once(SHA256, b"an event")));
            assert_eq!(quote.pcrs.get(16), Some(&extended_once(SHA256, b"key")));
            assert_eq!(quote.pcrs.get(17), Some(&Digest::filled(0xFF, 32)));
            assert_eq!(quote.clock.may_follow(&clock), Ok(()));
            clock = quote.clock;
            let other = QuoteExpectation { nonce: ExpectedNonce::Text("other"), ..expected };
            assert_eq!(verify(&parts, &ak, &other), Err(QuoteError::Nonce));
        }
    }
}

/// A host that owns its TPM resets PCR 23, replays another PCR's history there and sends its value under that PCR's number.
#[test]
fn a_resettable_pcr_cannot_stand_in_for_another() {
    let mut tpm = tpms().remove(0);
    let (_, ak) = keys(&tpm);
    tpm.measure(0, b"compromised firmware").unwrap();
    tpm.measure(23, b"good firmware").unwrap();
    let (attestation, pcrs) = tpm.quote(SHA256, PcrMask::of([23]), b"nonce").unwrap();
    let forged = PcrBank::from_values(SHA256, [(0, *pcrs.get(23).unwrap())]);
    let parts = QuoteParts {
        attest: attestation.attest,
        signature: attestation.signature,
        pcr_blob: pcr_blob::write_bank(&forged),
    };
    let expected = QuoteExpectation { nonce: ExpectedNonce::Bytes(b"nonce"), hash_alg: "sha256" };
    assert_eq!(verify(&parts, &ak, &expected), Err(QuoteError::Selection));
    let honest = QuoteParts { pcr_blob: pcr_blob::write_bank(&pcrs), ..parts };
    assert!(verify(&honest, &ak, &expected).is_ok());
}

#[test]
fn the_attestation_key_is_certified() {
    let iak = AttestationPair::generate_rsa2048(SignatureScheme::Rsapss, SHA256).unwrap();
    let iak_public = AttestationKey::from_tpm2b(iak.public()).unwrap();
    for mut tpm in tpms() {
        let (_, ak) = keys(&tpm);
        let expected = CertificationExpectation {
            certified: ak.name(),
            qualifying: QualifyingData::Exact(b"data"),
            scheme: None,
            hash: None,
        };
        let by_iak = tpm.certify_attestation_key(&iak, b"data").unwrap();
        assert!(verify_certification(&by_iak.attest, &by_iak.signature, &iak_public, &expected).is_ok());
        let pair = Arc::clone(&tpm.attestation);
        let by_itself = tpm.certify_attestation_key(&pair, b"data").unwrap();
        assert!(verify_certification(&by_itself.attest, &by_itself.signature, &ak, &expected).is_ok());
        assert!(verify_certification(&by_itself.attest, &by_itself.signature, &iak_public, &expected).is_err());
    }
}

#[test]
fn reboots_show_in_clock_and_pcrs() {
    let mut tpm = tpms().remove(0);
    let before = tpm.clock();
    tpm.measure(0, b"boot").unwrap();
    tpm.resume();
    assert_eq!(tpm.pcr(SHA256, 0), Some(extended_once(SHA256, b"boot")));
    assert_eq!(tpm.clock().restart_count, before.restart_count + 1);
    tpm.reset();
    assert_eq!(tpm.pcr(SHA256, 0), Some(Digest::filled(0, 32)));
    assert_eq!((tpm.clock().reset_count, tpm.clock().restart_count), (before.reset_count + 1, 0));
    assert_eq!(tpm.reset_pcr(0), Err(SoftTpmError::Pcr(0)));
    assert_eq!(tpm.measure(24, b""), Err(SoftTpmError::Pcr(24)));
    let sha384 = HashAlgorithm::Sha384;
    assert!(matches!(tpm.quote(sha384, PcrMask::of([0]), b""), Err(SoftTpmError::Bank(bank)) if bank == sha384));
}

#[test]
fn identities_follow_from_their_seed() {
    let public = |seed| AttestationPair::p256_from_seed(&[seed; 32]).unwrap().public().to_vec();
    assert_eq!(public(1), public(1));
    assert_ne!(public(1), public(2));
    let ek = EndorsementPair::p256_from_seed(&[1; 32]).unwrap();
    assert_ne!(ek.name(), AttestationPair::p256_from_seed(&[1; 32]).unwrap().name());
}

#[test]
fn endorsement_certificates_hold_the_key() {
    let manufacturer = Manufacturer::found("a manufacturer").unwrap();
    assert!(manufacturer.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    for tpm in tpms() {
        let certificate = manufacturer.certify(tpm.endorsement(), 5).unwrap();
        let spki = tpm.endorsement().spki();
        assert!(certificate.windows(spki.len()).any(|window| window == spki));
    }
}
