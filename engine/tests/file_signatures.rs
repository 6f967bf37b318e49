//! The verifier of file signatures against RustCrypto, on valid and on mutated signatures.

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::file_signature::SignatureHash;
use keylime_engine::ima::key_reading::{read_key, read_public_pem};
use keylime_engine::ima::verification_key::{Curve, VerificationKey};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;

const HASHES: [(SignatureHash, HashAlgorithm); 4] = [
    (SignatureHash::Sha1, HashAlgorithm::Sha1),
    (SignatureHash::Sha256, HashAlgorithm::Sha256),
    (SignatureHash::Sha384, HashAlgorithm::Sha384),
    (SignatureHash::Sha512, HashAlgorithm::Sha512),
];

/// The signature itself, each bit of some bytes flipped, and other lengths.
fn mutations(signature: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![
        signature.to_vec(),
        Vec::new(),
        signature[1..].to_vec(),
        [signature, &[0]].concat(),
        vec![0; signature.len()],
    ];
    for place in (0..signature.len()).step_by(7) {
        for bit in [0x01, 0x80] {
            let mut mutated = signature.to_vec();
            mutated[place] ^= bit;
            out.push(mutated);
        }
    }
    out
}

fn vector(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/agreement").join(path))
        .unwrap()
}

#[test]
fn rsa_agrees() {
    let pem = String::from_utf8(vector("keys/rsa2048.pem")).unwrap();
    let private = rsa::RsaPrivateKey::from_pkcs8_pem(&pem)
        .or_else(|_| rsa::RsaPrivateKey::from_pkcs1_pem(&pem).map_err(|e| e.to_string()))
        .unwrap();
    let key = read_public_pem(&vector("keys/rsa2048pub.pem")).unwrap();
    assert_eq!(read_key(pem.as_bytes()).unwrap().key.key_id(), key.key_id());
    let mut verified = 0;
    for (hash, algorithm) in HASHES {
        let digest = algorithm.digest(&[b"content"]);
        let prefix = digest_info(hash);
        let scheme = || rsa::Pkcs1v15Sign { hash_len: Some(digest.as_bytes().len()), prefix: prefix.into() };
        let signature = private.sign(scheme(), digest.as_bytes()).unwrap();
        for mutated in mutations(&signature) {
            let theirs = private.to_public_key().verify(scheme(), digest.as_bytes(), &mutated).is_ok();
            assert_eq!(key.verifies(hash, digest.as_bytes(), &mutated), theirs, "{hash:?}");
            verified += usize::from(theirs);
        }
    }
    assert_eq!(verified, HASHES.len());
}

/// DER before the digest, RFC 8017 §9.2.
fn digest_info(hash: SignatureHash) -> &'static [u8] {
    match hash {
        SignatureHash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        SignatureHash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        SignatureHash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        SignatureHash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        SignatureHash::Md5 | SignatureHash::Sha224 | SignatureHash::Streebog256 | SignatureHash::Streebog512 => b"",
    }
}

/// ECDSA takes the leftmost bits of a digest that is longer than the curve, and the number a shorter one stands for.
fn fitted(digest: &[u8], width: usize) -> Vec<u8> {
    let taken = &digest[..digest.len().min(width)];
    [vec![0; width - taken.len()], taken.to_vec()].concat()
}

macro_rules! curve_agrees {
    ($name:ident, $curve:ident, $which:expr, $width:expr) => {
        #[test]
        fn $name() {
            use $curve::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
            use $curve::ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey};
            let mut secret = [0_u8; $width];
            secret[$width - 4..].copy_from_slice(&[3, 1, 4, 1]);
            let private = SigningKey::from_slice(&secret).unwrap();
            let public = VerifyingKey::from(&private);
            let key = VerificationKey::from_point($which, public.to_sec1_point(false).as_bytes()).unwrap();
            assert_eq!(VerificationKey::from_spki(key.spki()).unwrap(), key);
            let mut verified = 0;
            for (hash, algorithm) in HASHES {
                let digest = algorithm.digest(&[b"content"]);
                let prehash = fitted(digest.as_bytes(), $width);
                let signature: Signature = private.sign_prehash(&prehash).unwrap();
                for mutated in mutations(signature.to_der().as_bytes()) {
                    let theirs = DerSignature::from_bytes(&mutated)
                        .is_ok_and(|signature| public.verify_prehash(&prehash, &signature).is_ok());
                    assert_eq!(
                        key.verifies(hash, digest.as_bytes(), &mutated),
                        theirs,
                        "{hash:?} {}",
                        hex::encode(&mutated)
                    );
                    verified += usize::from(theirs);
                }
            }
            assert_eq!(verified, HASHES.len());
        }
    };
}

curve_agrees!(p256_agrees, p256, Curve::P256, 32);
curve_agrees!(p384_agrees, p384, Curve::P384, 48);
curve_agrees!(p521_agrees, p521, Curve::P521, 66);
