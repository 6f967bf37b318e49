//! The TPM shell against swtpm: keys of every kind the profile has templates for, quotes, bank and mask limits.

use keylime_agent::tpm::esapi::EsapiTpm;
use keylime_agent::tpm::{
    AttestationKeyRequest, EndorsementKeyRequest, KeyAlgorithm, KeyOrigin, QuoteRequest, SigningAlgorithm, Tpm,
    TpmError,
};
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::identity::certification::{CertificationExpectation, QualifyingData, verify_certification};
use keylime_engine::tpm::name::TpmName;
use keylime_harness::swtpm::{Manufacture, SoftwareTpm};

fn endorsement(algorithm: KeyAlgorithm) -> EndorsementKeyRequest {
    EndorsementKeyRequest { algorithm, persistent_handle: None }
}

fn quote_of(mask: u32, bank: HashAlgorithm) -> QuoteRequest {
    QuoteRequest {
        qualifying_data: b"abcdefghij0123456789".to_vec(),
        pcr_mask: mask,
        bank,
        bound_data: Some(bank.digest(&[b"payload key"])),
    }
}

#[test]
fn every_key_kind_makes_quotes() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let kinds = [
        (KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaSsa, HashAlgorithm::Sha256),
        (KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaPss, HashAlgorithm::Sha256),
        (KeyAlgorithm::Rsa3072, SigningAlgorithm::RsaSsa, HashAlgorithm::Sha384),
        (KeyAlgorithm::Ecc256, SigningAlgorithm::EcDsa, HashAlgorithm::Sha256),
        (KeyAlgorithm::Ecc384, SigningAlgorithm::EcDsa, HashAlgorithm::Sha384),
        (KeyAlgorithm::Ecc521, SigningAlgorithm::EcDsa, HashAlgorithm::Sha1),
    ];
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    for (algorithm, signing, hash) in kinds {
        tpm.endorsement_key(&endorsement(algorithm)).unwrap();
        let request = AttestationKeyRequest { algorithm, hash, signing, stored: None };
        let key = tpm.attestation_key(&request).unwrap();
        assert_eq!(key.origin, KeyOrigin::Created);
        let again = tpm.attestation_key(&AttestationKeyRequest { stored: Some(key.blobs.clone()), ..request }).unwrap();
        assert_eq!((again.origin, again.blobs), (KeyOrigin::Stored, key.blobs.clone()));

        let quote = tpm.quote(&quote_of(0x401, hash)).unwrap();
        assert_eq!(quote.pcrs.iter().map(|(index, _)| index).collect::<Vec<_>>(), [0, 10, 16], "{algorithm}");
        let zero = Digest::filled(0, hash.digest_len());
        let expected = hash.digest(&[zero.as_bytes(), hash.digest(&[b"payload key"]).as_bytes()]);
        assert_eq!(quote.pcrs.get(16), Some(&expected), "{algorithm}");

        let proof = tpm.certify_attestation_key(b"challenge").unwrap();
        let public = u16::try_from(key.blobs.public.len()).unwrap().to_be_bytes();
        let signer = AttestationKey::from_tpm2b(&[&public[..], &key.blobs.public].concat()).unwrap();
        let name = TpmName::of_public_area(hash, &key.blobs.public);
        let qualifying = QualifyingData::Exact(b"challenge");
        let expected = CertificationExpectation { certified: &name, qualifying, scheme: None, hash: Some(hash) };
        // SHA-1 on P-521 makes quotes, but is refused as a proof.
        if hash != HashAlgorithm::Sha1 {
            assert!(verify_certification(&proof.attest, &proof.signature, &signer, &expected).is_ok(), "{algorithm}");
        }
        tpm.release_endorsement_key().unwrap();
        drop(tpm);
        tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    }
}

#[test]
fn missing_banks_and_pcrs_are_named() {
    let swtpm = SoftwareTpm::start(Manufacture::WithEkCertificate).unwrap();
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    assert_eq!(tpm.allocated_banks().unwrap(), [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    let key = tpm.endorsement_key(&endorsement(KeyAlgorithm::Rsa2048)).unwrap();
    assert_eq!(key.certificate.unwrap()[0], 0x30);
    let request = AttestationKeyRequest {
        algorithm: KeyAlgorithm::Rsa2048,
        hash: HashAlgorithm::Sha256,
        signing: SigningAlgorithm::RsaSsa,
        stored: None,
    };
    tpm.attestation_key(&request).unwrap();

    let missing = tpm.quote(&quote_of(0x401, HashAlgorithm::Sha512)).unwrap_err();
    assert!(matches!(missing, TpmError::BankNotAllocated { bank: HashAlgorithm::Sha512, .. }), "{missing}");
    let beyond = tpm.quote(&quote_of(0x0100_0000, HashAlgorithm::Sha256)).unwrap_err();
    assert!(matches!(beyond, TpmError::PcrOutOfRange(0x0100_0000)), "{beyond}");
    assert_eq!(tpm.quote(&quote_of(0x00FF_FFFF, HashAlgorithm::Sha256)).unwrap().pcrs.mask().len(), 24);
}

#[test]
fn schemes_and_kinds_that_cannot_work_are_refused_by_name() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    let refused = tpm.endorsement_key(&endorsement(KeyAlgorithm::Rsa1024)).unwrap_err();
    assert_eq!(refused.to_string(), "there is no endorsement key template for rsa1024");
    let mismatch = AttestationKeyRequest {
        algorithm: KeyAlgorithm::Rsa2048,
        hash: HashAlgorithm::Sha256,
        signing: SigningAlgorithm::EcDsa,
        stored: None,
    };
    assert!(matches!(tpm.attestation_key(&mismatch), Err(TpmError::SchemeMismatch { .. })));
    assert!(matches!(tpm.quote(&quote_of(1, HashAlgorithm::Sha256)), Err(TpmError::KeyNotLoaded(_))));
}
