//! Public areas of real AKs and EKs, and malformed ones.

use crate::vectors::{list, load, text};
use keylime_engine::identity::attestation_key::{AttestationKey, InvalidAttestationKey};
use keylime_engine::identity::endorsement_key::{EndorsementKey, InvalidEndorsementKey};
use keylime_engine::tpm::object_attributes::ObjectAttributes;
use keylime_engine::tpm::public_area::{InvalidPublicArea, PublicArea};
use proptest::prelude::*;

const PUBLIC: &str = include_str!("../data/tpm_public.json");

fn decoded(name: &str) -> Vec<u8> {
    use base64::Engine as _;
    let file = load(PUBLIC);
    let case = list(&file, "cases").iter().find(|case| text(case, "name") == name).unwrap();
    base64::engine::general_purpose::STANDARD.decode(text(case, "tpm2b_public")).unwrap()
}

#[test]
fn public_areas_are_read_as_recorded() {
    let file = load(PUBLIC);
    for case in list(&file, "cases") {
        let (name, expect) = (text(case, "name"), &case["expect"]);
        let area = PublicArea::from_base64(text(case, "tpm2b_public"));
        if expect.get("error").is_some() {
            assert!(area.is_err(), "{name}");
            continue;
        }
        let area = area.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(area.key().to_spki_pem().unwrap(), text(expect, "spki_pem"), "{name}");
        let tpm_name = area.name().map(ToString::to_string);
        assert_eq!(tpm_name.as_deref(), expect["tpm_name_hex"].as_str(), "{name}");
        assert_eq!(format!("{:#x}", area.attributes().bits()), text(expect, "attributes"), "{name}");
        let null_cipher = expect["sym_alg"] == 16;
        assert_eq!(area.symmetric().is_none(), null_cipher, "{name}");
        if let Some(symmetric) = area.symmetric() {
            assert_eq!(u64::from(symmetric.algorithm_id), expect["sym_alg"].as_u64().unwrap(), "{name}");
            assert_eq!(u64::from(symmetric.key_bits), expect["sym_keybits"].as_u64().unwrap(), "{name}");
            let ek = EndorsementKey::from_public_area(&area).unwrap();
            assert_eq!(ek.hash_ek().unwrap(), text(expect, "sha256_of_pem"), "{name}");
        } else if area.name().is_some() {
            AttestationKey::from_public_area(&area).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn malformed_public_areas_say_why() {
    let cases = [
        ("trailing byte", "More in tpm2b_public than tpmt_public"),
        ("truncated RSA", "Misparsed either modulus or keybits: 255*8 != 2048"),
        ("type SYMCIPHER", "Invalid tpm2b_public type: 37"),
        ("EC not on the curve", "Invalid EC key. Point is not on the curve specified."),
        ("EC x >= p", "Invalid EC key. Point is not on the curve specified."),
        ("EC unknown curve", "Invalid curve id 16 requested"),
    ];
    for (name, reason) in cases {
        assert_eq!(PublicArea::from_tpm2b(&decoded(name)).unwrap_err().to_string(), reason, "{name}");
    }
    assert!(matches!(PublicArea::from_tpm2b(&decoded("empty")), Err(InvalidPublicArea::Truncated(_))));
    assert!(PublicArea::from_base64(&"A".repeat(10_000)).is_err());
}

/// The attributes lie after size, type and name algorithm.
fn with_attributes(mut tpm2b: Vec<u8>, change: impl Fn(u32) -> u32) -> Vec<u8> {
    let bits = change(u32::from_be_bytes(tpm2b[6..10].try_into().unwrap()));
    tpm2b[6..10].copy_from_slice(&bits.to_be_bytes());
    tpm2b
}

#[test]
fn cve_2021_3406_an_ak_lacking_any_attribute_is_refused() {
    let ak = decoded("aik_tpm of rsa2048/rsassa/sha256");
    assert!(AttestationKey::from_tpm2b(&ak).is_ok());
    for attribute in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::SIGN,
    ] {
        let weak = with_attributes(ak.clone(), |bits| bits & !attribute.bits());
        let error = AttestationKey::from_tpm2b(&weak).unwrap_err();
        assert_eq!(error, InvalidAttestationKey::MissingAttributes(attribute));
    }
    let both = with_attributes(ak, |bits| bits | ObjectAttributes::DECRYPT.bits());
    assert_eq!(AttestationKey::from_tpm2b(&both).unwrap_err(), InvalidAttestationKey::Decrypts);
}

#[test]
fn cve_2021_3406_only_storage_keys_are_endorsement_keys() {
    let ek = decoded("ek_tpm of ecc256/ecdsa/sha256");
    let parse = |tpm2b: &[u8]| EndorsementKey::from_public_area(&PublicArea::from_tpm2b(tpm2b).unwrap());
    assert!(parse(&ek).is_ok());
    for attribute in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::DECRYPT,
    ] {
        let weak = with_attributes(ek.clone(), |bits| bits & !attribute.bits());
        assert_eq!(parse(&weak), Err(InvalidEndorsementKey::MissingAttributes(attribute)));
    }
    let signs = with_attributes(ek, |bits| bits | ObjectAttributes::SIGN.bits());
    assert_eq!(parse(&signs), Err(InvalidEndorsementKey::Signs));
    let ak = decoded("aik_tpm of ecc256/ecdsa/sha256");
    assert!(matches!(parse(&ak), Err(InvalidEndorsementKey::MissingAttributes(_))));
    assert!(AttestationKey::from_tpm2b(&decoded("ek_tpm of ecc256/ecdsa/sha256")).is_err());
}

proptest! {
    #[test]
    fn reading_is_total(data in prop::collection::vec(any::<u8>(), 0..700)) {
        let _outcome = PublicArea::from_tpm2b(&data);
        let _outcome = PublicArea::from_tpmt(&data);
    }

    #[test]
    fn every_changed_byte_changes_the_name_or_is_refused(position in 0_usize..282, change in 1_u8..) {
        let original = decoded("aik_tpm of rsa2048/rsassa/sha256");
        let name = AttestationKey::from_tpm2b(&original).unwrap().name().to_string();
        let mut edited = original;
        edited[position] ^= change;
        if let Ok(key) = AttestationKey::from_tpm2b(&edited) {
            prop_assert_ne!(key.name().to_string(), name);
        }
    }
}
