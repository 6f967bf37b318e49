//! The endorsement hierarchy as administrators and makers leave it, on swtpm: a password, a persistent key, a certificate chain.

use std::str::FromStr as _;

use keylime_agent::tpm::esapi::EsapiTpm;
use keylime_agent::tpm::{AttestationKeyRequest, EndorsementKeyRequest, KeyAlgorithm, SigningAlgorithm, Tpm as _};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_harness::swtpm::{Manufacture, SoftwareTpm};
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, DefaultKey, ek};
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::handles::{AuthHandle, NvIndexTpmHandle, PersistentTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{Auth, MaxNvBuffer, NvPublicBuilder};
use tss_esapi::{Context, TctiNameConf};

const HANDLE: u32 = 0x8101_0001;

fn context(swtpm: &SoftwareTpm) -> Context {
    Context::new(TctiNameConf::from_str(&swtpm.tcti()).unwrap()).unwrap()
}

fn endorsement(persistent_handle: Option<u32>) -> EndorsementKeyRequest {
    EndorsementKeyRequest { algorithm: KeyAlgorithm::Rsa2048, persistent_handle }
}

fn attestation() -> AttestationKeyRequest {
    AttestationKeyRequest {
        algorithm: KeyAlgorithm::Rsa2048,
        hash: HashAlgorithm::Sha256,
        signing: SigningAlgorithm::RsaSsa,
        stored: None,
    }
}

#[test]
fn the_owner_password_opens_the_hierarchy_and_nothing_else_does() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let password = Auth::try_from(b"geheim".to_vec()).unwrap();
    context(&swtpm)
        .execute_with_nullauth_session(|context| context.hierarchy_change_auth(AuthHandle::Endorsement, password))
        .unwrap();
    for wrong in [&b""[..], b"falsch"] {
        let mut tpm = EsapiTpm::open(&swtpm.tcti(), wrong).unwrap();
        assert!(tpm.endorsement_key(&endorsement(None)).is_err());
    }
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"geheim").unwrap();
    tpm.endorsement_key(&endorsement(None)).unwrap();
    tpm.attestation_key(&attestation()).unwrap();
    assert!(!tpm.certify_attestation_key(b"challenge").unwrap().signature.is_empty());
}

#[test]
fn a_persistent_endorsement_key_is_used_and_stays() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    {
        let mut context = context(&swtpm);
        let key =
            ek::create_ek_object_2(&mut context, AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048), DefaultKey)
                .unwrap();
        let persistent = Persistent::Persistent(PersistentTpmHandle::new(HANDLE).unwrap());
        context
            .execute_with_nullauth_session(|context| context.evict_control(Provision::Owner, key.into(), persistent))
            .unwrap();
        context.flush_context(key.into()).unwrap();
    }
    let mut made = Vec::new();
    for handle in [Some(HANDLE), Some(HANDLE), None] {
        let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
        made.push(tpm.endorsement_key(&endorsement(handle)).unwrap().public);
        tpm.attestation_key(&attestation()).unwrap();
        tpm.release_endorsement_key().unwrap();
    }
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    assert!(tpm.endorsement_key(&endorsement(Some(HANDLE + 1))).is_err());
}

#[test]
fn the_chain_of_the_certificate_is_read_from_all_its_indices() {
    let swtpm = SoftwareTpm::start(Manufacture::WithEkCertificate).unwrap();
    let parts: [&[u8]; 2] = [&[0x30, 3, 1, 2, 3, 0x30, 1], &[9, 0x30, 0]];
    {
        let mut context = context(&swtpm);
        for (index, part) in (0x01C0_0100..).zip(parts) {
            let attributes = NvIndexAttributesBuilder::new()
                .with_owner_write(true)
                .with_owner_read(true)
                .with_auth_read(true)
                .build()
                .unwrap();
            let public = NvPublicBuilder::new()
                .with_nv_index(NvIndexTpmHandle::new(index).unwrap())
                .with_index_name_algorithm(HashingAlgorithm::Sha256)
                .with_index_attributes(attributes)
                .with_data_area_size(part.len())
                .build()
                .unwrap();
            let data = MaxNvBuffer::try_from(part.to_vec()).unwrap();
            context
                .execute_with_nullauth_session(|context| {
                    let handle = context.nv_define_space(Provision::Owner, None, public)?;
                    context.nv_write(NvAuth::Owner, handle, data, 0)
                })
                .unwrap();
        }
    }
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    let key = tpm.endorsement_key(&endorsement(None)).unwrap();
    assert!(key.certificate.is_some());
    assert_eq!(key.chain, [vec![0x30, 3, 1, 2, 3], vec![0x30, 1, 9], vec![0x30, 0]]);
}
