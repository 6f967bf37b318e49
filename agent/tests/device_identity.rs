//! Device identity keys on swtpm: made from templates and found at handles, certified, and taken by Keylime 7.14.3's registrar.

use std::fs;
use std::path::Path;
use std::time::Duration;

use keylime_agent::tpm::device_identity::{DeviceIdentityRequest, DeviceKeySource, DeviceKeyTemplate};
use keylime_agent::tpm::esapi::EsapiTpm;
use keylime_agent::tpm::{
    AttestationKeyRequest, EndorsementKeyRequest, KeyAlgorithm, SigningAlgorithm, Tpm as _, TpmError,
};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::public_area::PublicArea;
use keylime_harness::peer;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::swtpm::{Manufacture, SoftwareTpm};

fn request(template: DeviceKeyTemplate) -> DeviceIdentityRequest {
    DeviceIdentityRequest {
        idevid: DeviceKeySource::Template(template),
        iak: DeviceKeySource::Template(template),
        qualifying_data: vec![7; 32],
    }
}

fn with_attestation_key(tcti: &str) -> EsapiTpm {
    let mut tpm = EsapiTpm::open(tcti, b"").unwrap();
    let algorithm = KeyAlgorithm::Rsa2048;
    tpm.endorsement_key(&EndorsementKeyRequest { algorithm, persistent_handle: None }).unwrap();
    let (hash, signing) = (HashAlgorithm::Sha256, SigningAlgorithm::RsaSsa);
    tpm.attestation_key(&AttestationKeyRequest { algorithm, hash, signing, stored: None }).unwrap();
    tpm
}

#[test]
fn every_template_makes_the_same_keys_again() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let mut tpm = with_attestation_key(&swtpm.tcti());
    for name in ["H-1", "H-2", "H-3"] {
        let request = request(DeviceKeyTemplate::from_name(name).unwrap());
        let first = tpm.prove_device_identity(&request).unwrap();
        let second = tpm.prove_device_identity(&request).unwrap();
        assert_eq!((&first.iak_public, &first.idevid_public), (&second.iak_public, &second.idevid_public), "{name}");
        assert_ne!(first.iak_public, first.idevid_public);
        assert!(first.certification.attest.windows(32).any(|window| window == [7; 32]));
    }
    let absent = DeviceIdentityRequest {
        iak: DeviceKeySource::Persistent { handle: 0x8100_4711, password: Vec::new() },
        ..request(DeviceKeyTemplate::h1())
    };
    assert!(matches!(tpm.prove_device_identity(&absent), Err(TpmError::Command { .. })));
}

/// Certifies a TPM key as a manufacturer would, and leaves the authority in the registrar's store.
fn certify(stack: &Stack, name: &str, tpmt: &[u8], file: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, format!("maker of {name}"));
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    fs::write(stack.dir().join(format!("tpm_cert_store/{name}.pem")), certificate.pem()).unwrap();
    let spki = PublicArea::from_tpmt(tpmt).unwrap().key().to_spki_der().unwrap();
    let spki = rcgen::SubjectPublicKeyInfo::from_der(&spki).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = rcgen::Issuer::new(authority, authority_key);
    fs::write(file, params.signed_by(&spki, &issuer).unwrap().pem()).unwrap();
}

#[test]
fn the_peers_registrar_takes_the_identity_and_refuses_another() {
    peer::ensure().unwrap();
    let mut stack = Stack::prepare(|settings| {
        settings.registrar = vec![("tpm_identity".to_owned(), "iak_idevid".to_owned())];
        settings.agent = vec![
            ("enable_iak_idevid".to_owned(), "true".to_owned()),
            ("iak_idevid_template".to_owned(), "\"detect\"".to_owned()),
        ];
    })
    .unwrap();
    let identity = with_attestation_key(stack.tcti()).prove_device_identity(&request(DeviceKeyTemplate::h1())).unwrap();
    let [iak, idevid] = ["iak", "idevid"].map(|name| stack.dir().join(format!("agent/{name}-cert.crt")));
    certify(&stack, "iak", &identity.iak_public, &iak);
    certify(&stack, "idevid", &identity.idevid_public, &idevid);
    stack.start_verifier(Implementation::Peer).unwrap();
    stack.start_registrar(Implementation::Peer).unwrap();
    stack.start_agent().unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let status = stack.tenant(Implementation::Ours, &["-c", "regstatus"]).unwrap();
    assert_eq!(status.code, Some(0), "{status:?}");
    stack.agent.take().unwrap().terminate(Duration::from_secs(20)).unwrap();

    fs::copy(&idevid, &iak).unwrap();
    let refused = stack.start_agent().unwrap_err().to_string();
    assert!(refused.contains("the certificate of option iak_cert is not about the key in the tpm"), "{refused}");
}
