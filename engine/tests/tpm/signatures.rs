//! ECDSA signatures in TPM form, and two independent implementations that must agree on every signature.

use crate::vectors::{bytes, list, load, text};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature as lc;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::tpm::ecc_curve::EccCurve;
use keylime_engine::tpm::public_key::{EccPublicKey, PublicKey, RsaPublicKey};
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use keylime_engine::tpm::signature::{SignatureHeader, SignatureScheme};
use keylime_engine::tpm::verifying_key::VerifyingKey;
use proptest::prelude::*;
use std::sync::LazyLock;

const ECDSA: &str = include_str!("../data/ecdsa_signature.json");
const SCHEMES: [SignatureScheme; 3] = [SignatureScheme::Rsassa, SignatureScheme::Rsapss, SignatureScheme::Ecdsa];

#[test]
fn ecdsa_signatures_become_minimal_der() {
    for case in list(&load(ECDSA), "cases") {
        let curve = EccCurve::ALL.into_iter().find(|c| c.name() == text(case, "curve")).unwrap();
        let signature = bytes(case, "tpmt_signature_hex");
        let value = SignatureHeader::parse(&signature).unwrap().ecdsa_value(curve);
        match case.get("der_hex") {
            Some(_) => assert_eq!(value.unwrap().to_der().as_slice(), bytes(case, "der_hex"), "{case}"),
            None => assert_eq!(value.unwrap_err().to_string(), text(case, "error"), "{case}"),
        }
    }
}

/// A key with a signature in TPM form, and the message it signs.
struct Signed {
    key: VerifyingKey,
    message: Vec<u8>,
    signature: Vec<u8>,
    hash: HashAlgorithm,
}

const MESSAGE: &[u8] = b"\xffTCG and so on";

static SIGNED: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let rng = SystemRandom::new();
    let mut all = Vec::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let modulus = rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let public = PublicKey::Rsa(RsaPublicKey::new(&modulus, 0, 2048).unwrap());
    let encodings: [(SignatureScheme, HashAlgorithm, &'static dyn lc::RsaEncoding); 6] = [
        (SignatureScheme::Rsassa, HashAlgorithm::Sha256, &lc::RSA_PKCS1_SHA256),
        (SignatureScheme::Rsassa, HashAlgorithm::Sha384, &lc::RSA_PKCS1_SHA384),
        (SignatureScheme::Rsassa, HashAlgorithm::Sha512, &lc::RSA_PKCS1_SHA512),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha256, &lc::RSA_PSS_SHA256),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha384, &lc::RSA_PSS_SHA384),
        (SignatureScheme::Rsapss, HashAlgorithm::Sha512, &lc::RSA_PSS_SHA512),
    ];
    for (scheme, hash, encoding) in encodings {
        let mut value = vec![0; rsa.public_modulus_len()];
        rsa.sign(encoding, &rng, MESSAGE, &mut value).unwrap();
        let signature = tpmt(scheme, hash, &[&value]);
        let key = VerifyingKey::new(public.clone(), Some((scheme, hash)));
        all.push(Signed { key, message: MESSAGE.to_vec(), signature, hash });
    }
    let curves: [(EccCurve, HashAlgorithm, &'static lc::EcdsaSigningAlgorithm); 5] = [
        (EccCurve::P256, HashAlgorithm::Sha256, &lc::ECDSA_P256_SHA256_FIXED_SIGNING),
        (EccCurve::P384, HashAlgorithm::Sha384, &lc::ECDSA_P384_SHA384_FIXED_SIGNING),
        (EccCurve::P521, HashAlgorithm::Sha256, &lc::ECDSA_P521_SHA256_FIXED_SIGNING),
        (EccCurve::P521, HashAlgorithm::Sha384, &lc::ECDSA_P521_SHA384_FIXED_SIGNING),
        (EccCurve::P521, HashAlgorithm::Sha512, &lc::ECDSA_P521_SHA512_FIXED_SIGNING),
    ];
    for (curve, hash, algorithm) in curves {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(curve.coordinate_len());
        let public = PublicKey::Ecc(EccPublicKey::new(curve, x, y).unwrap());
        let value = pair.sign(&rng, MESSAGE).unwrap();
        let (r, s) = value.as_ref().split_at(curve.coordinate_len());
        let signature = tpmt(SignatureScheme::Ecdsa, hash, &[r, s]);
        let key = VerifyingKey::new(public, Some((SignatureScheme::Ecdsa, hash)));
        all.push(Signed { key, message: MESSAGE.to_vec(), signature, hash });
    }
    all
});

fn tpmt(scheme: SignatureScheme, hash: HashAlgorithm, numbers: &[&[u8]]) -> Vec<u8> {
    let mut out = [scheme.tpm_id().to_be_bytes(), hash.tpm_id().to_be_bytes()].concat();
    for number in numbers {
        out.extend_from_slice(&u16::try_from(number.len()).unwrap().to_be_bytes());
        out.extend_from_slice(number);
    }
    out
}

/// The verdict of the RustCrypto crates, which share no code with the library the engine verifies with.
fn second_opinion(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(parsed) = key.parse(signature, &SCHEMES) else { return false };
    let header = SignatureHeader::parse(signature).unwrap();
    let digest = parsed.hash().digest(&[message]);
    match key.public() {
        PublicKey::Rsa(public) => {
            second_opinion_rsa(public, parsed.scheme(), parsed.hash(), &digest, header.rsa_value().unwrap())
        }
        PublicKey::Ecc(public) => {
            let der = header.ecdsa_value(public.curve()).unwrap().to_der();
            second_opinion_ecdsa(public, &digest, &der)
        }
    }
}

fn second_opinion_rsa(
    public: &RsaPublicKey,
    scheme: SignatureScheme,
    hash: HashAlgorithm,
    digest: &keylime_engine::algorithm::Digest,
    value: &[u8],
) -> bool {
    use rsa::{BigUint, Pkcs1v15Sign, Pss};
    let modulus = BigUint::from_bytes_be(public.modulus());
    let key = rsa::RsaPublicKey::new(modulus, BigUint::from(public.exponent())).unwrap();
    if value.len() != public.modulus().len() {
        return false;
    }
    let digest = digest.as_bytes();
    match (scheme, hash) {
        (SignatureScheme::Rsassa, HashAlgorithm::Sha1) => {
            // The DigestInfo of SHA-1 (RFC 8017, 9.2 note 1), which the crate does not carry without another dependency.
            let prefix = hex::decode("3021300906052b0e03021a05000414").unwrap().into_boxed_slice();
            key.verify(Pkcs1v15Sign { hash_len: Some(20), prefix }, digest, value).is_ok()
        }
        (SignatureScheme::Rsassa, HashAlgorithm::Sha256) => {
            key.verify(Pkcs1v15Sign::new::<rsa::sha2::Sha256>(), digest, value).is_ok()
        }
        (SignatureScheme::Rsassa, HashAlgorithm::Sha384) => {
            key.verify(Pkcs1v15Sign::new::<rsa::sha2::Sha384>(), digest, value).is_ok()
        }
        (SignatureScheme::Rsassa, HashAlgorithm::Sha512) => {
            key.verify(Pkcs1v15Sign::new::<rsa::sha2::Sha512>(), digest, value).is_ok()
        }
        (SignatureScheme::Rsapss, HashAlgorithm::Sha256) => {
            key.verify(Pss::new::<rsa::sha2::Sha256>(), digest, value).is_ok()
        }
        (SignatureScheme::Rsapss, HashAlgorithm::Sha384) => {
            key.verify(Pss::new::<rsa::sha2::Sha384>(), digest, value).is_ok()
        }
        (SignatureScheme::Rsapss, HashAlgorithm::Sha512) => {
            key.verify(Pss::new::<rsa::sha2::Sha512>(), digest, value).is_ok()
        }
        _ => false,
    }
}

fn second_opinion_ecdsa(public: &EccPublicKey, digest: &keylime_engine::algorithm::Digest, der: &[u8]) -> bool {
    macro_rules! verify {
        ($curve:ident) => {{
            use $curve::ecdsa::signature::hazmat::PrehashVerifier as _;
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(public.point()).unwrap();
            $curve::ecdsa::Signature::from_der(der)
                .is_ok_and(|signature| key.verify_prehash(digest.as_bytes(), &signature).is_ok())
        }};
    }
    match public.curve() {
        EccCurve::P256 => verify!(p256),
        EccCurve::P384 => verify!(p384),
        EccCurve::P521 => verify!(p521),
        EccCurve::P192 | EccCurve::P224 => false,
    }
}

fn first_opinion(signed: &Signed, message: &[u8], signature: &[u8]) -> bool {
    signed.key.verify(message, signature, &SCHEMES).is_ok()
}

#[test]
fn both_implementations_accept_every_scheme() {
    for signed in SIGNED.iter() {
        assert_eq!(signed.key.verify(&signed.message, &signed.signature, &SCHEMES), Ok(signed.hash));
        assert!(second_opinion(&signed.key, &signed.message, &signed.signature));
        let unprepared = signed.key.clone().lean();
        assert_eq!(unprepared.verify(&signed.message, &signed.signature, &SCHEMES), Ok(signed.hash));
    }
}

#[test]
fn both_implementations_agree_on_real_quotes() {
    let file = load(include_str!("../data/quotes.json"));
    for case in list(&file, "quotes") {
        let ak = AttestationKey::from_base64(text(case, "aik_tpm")).unwrap();
        let parts = QuoteParts::decode(text(&case["response"], "quote"), QuoteEncoding::Plain).unwrap();
        let first = ak.verifying_key().verify(&parts.attest, &parts.signature, &SCHEMES).is_ok();
        let second = second_opinion(ak.verifying_key(), &parts.attest, &parts.signature);
        assert_eq!(first, second, "{}", text(case, "name"));
        assert_eq!(first, !text(case, "name").contains("ecschnorr"), "{}", text(case, "name"));
    }
}

#[test]
fn schemes_that_are_not_accepted_say_so() {
    for signed in SIGNED.iter() {
        for id in [0x0010_u16, 0x001A, 0x001B, 0x001C, 0xFFFF] {
            let mut signature = signed.signature.clone();
            signature[..2].copy_from_slice(&id.to_be_bytes());
            let error = signed.key.verify(&signed.message, &signature, &SCHEMES).unwrap_err();
            let expected = format!("Unsupported quote signature algorithm '{id:#x}' for {} keys", signed.key.kind());
            assert_eq!(error.to_string(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_implementations_agree_on_edited_signatures(
        which in 0_usize..11,
        position in any::<prop::sample::Index>(),
        change in any::<u8>(),
        edit_message in any::<bool>(),
    ) {
        let signed = &SIGNED[which];
        let (mut message, mut signature) = (signed.message.clone(), signed.signature.clone());
        let target = if edit_message { &mut message } else { &mut signature };
        let position = position.index(target.len());
        target[position] ^= change;
        let first = first_opinion(signed, &message, &signature);
        prop_assert_eq!(first, second_opinion(&signed.key, &message, &signature));
        prop_assert_eq!(first, change == 0);
    }

    #[test]
    fn both_implementations_agree_on_cut_and_padded_signatures(which in 0_usize..11, len in 0_usize..300) {
        let signed = &SIGNED[which];
        let mut signature = signed.signature.clone();
        signature.resize(len, 0);
        let first = first_opinion(signed, &signed.message, &signature);
        prop_assert_eq!(first, second_opinion(&signed.key, &signed.message, &signature));
        prop_assert_eq!(first, len >= signed.signature.len());
    }
}
