use super::*;
use crate::tpm::reader::Reader;
use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../tests/data/makecredential.json");
const AUTH_TAGS: &str = include_str!("../../../tests/data/auth_tag.json");

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["cases"].as_array().unwrap().clone()
}

fn text<'v>(case: &'v Value, key: &str) -> &'v str {
    case[key].as_str().unwrap()
}

fn bytes(case: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(case, key)).unwrap()
}

fn pkcs8(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

fn keys(case: &Value) -> (EndorsementKey, AttestationKey, CredentialChallenge) {
    let ek = EndorsementKey::from_base64(text(case, "ek_tpm")).unwrap();
    let ak = AttestationKey::from_base64(text(case, "aik_tpm")).unwrap();
    assert_eq!(ak.name().to_string(), text(case, "aik_name_hex"));
    let challenge = CredentialChallenge { text: text(case, "challenge").to_owned() };
    assert_eq!(challenge.to_stored(), text(case, "registrar_key_column"));
    assert_eq!(CredentialChallenge::from_stored(&challenge.to_stored()).unwrap(), challenge);
    (ek, ak, challenge)
}

/// The two TPM2B of a blob.
fn split(blob: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut reader = Reader::new(blob);
    assert_eq!(reader.u32(), Ok(BLOB_MAGIC));
    assert_eq!(reader.u32(), Ok(BLOB_VERSION));
    let id_object = reader.sized().unwrap().to_vec();
    let secret = reader.sized().unwrap().to_vec();
    assert!(reader.is_empty());
    (id_object, secret)
}

#[test]
fn blobs_equal_those_of_the_reference() {
    for case in cases(VECTORS) {
        let name = text(&case, "name");
        let (ek, ak, challenge) = keys(&case);
        let seed = Digest::from_slice(&bytes(&case, "seed_hex"));
        let sealed = SealedSeed { seed, secret: bytes(&case, "encrypted_secret_hex") };
        let blob = seal_with_seed(challenge.text.as_bytes(), &ek, ak.name(), &sealed).unwrap();
        assert_eq!(STANDARD.encode(&blob), text(&case, "blob"), "{name}");
        assert_eq!(blob.len() as u64, case["sizes"]["blob"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn ecc_seeds_follow_from_the_ephemeral_key() {
    for case in cases(VECTORS).iter().filter(|case| case.get("ephemeral_private_key_pem").is_some()) {
        let (ek, _, _) = keys(case);
        let PublicKey::Ecc(key) = ek.public_key() else { panic!("an ECC case with an RSA key") };
        let algorithm = match key.curve() {
            EccCurve::P256 => &ECDH_P256,
            EccCurve::P384 => &ECDH_P384,
            EccCurve::P521 => &ECDH_P521,
            EccCurve::P192 | EccCurve::P224 => panic!("no such case"),
        };
        let der = pkcs8(text(case, "ephemeral_private_key_pem"));
        let ephemeral = PrivateKey::from_private_key_der(algorithm, &der).unwrap();
        let sealed = seal_seed_ecc(key, ek.name_algorithm(), &ephemeral).unwrap();
        assert_eq!(sealed.seed.as_bytes(), bytes(case, "seed_hex"), "{}", text(case, "name"));
        assert_eq!(sealed.secret, bytes(case, "encrypted_secret_hex"), "{}", text(case, "name"));
    }
}

#[test]
fn rsa_seeds_come_out_of_the_private_key() {
    for case in cases(VECTORS).iter().filter(|case| text(case, "name").starts_with("RSA")) {
        let (ek, ak, challenge) = keys(case);
        let entropy = [0x5A; SEAL_ENTROPY_BYTES];
        let blob = challenge.seal(&ek, &ak, &entropy).unwrap();
        let (id_object, secret) = split(&blob);
        let algorithm = match ek.name_algorithm() {
            HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
            HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
            HashAlgorithm::Sha1 | HashAlgorithm::Sha512 | HashAlgorithm::Sm3_256 => panic!("no such case"),
        };
        let key = PrivateDecryptingKey::from_pkcs8(&pkcs8(text(case, "ek_private_key_pem"))).unwrap();
        let key = OaepPrivateDecryptingKey::new(key).unwrap();
        let mut seed = vec![0; key.min_output_size()];
        let seed = key.decrypt(algorithm, &secret, &mut seed, Some(OAEP_LABEL)).unwrap();
        assert_eq!(seed, &entropy[..ek.name_algorithm().digest_len()]);
        let sealed = SealedSeed { seed: Digest::from_slice(seed), secret };
        let again = seal_with_seed(challenge.text.as_bytes(), &ek, ak.name(), &sealed).unwrap();
        assert_eq!(split(&again).0, id_object);
    }
}

#[test]
fn the_blob_depends_on_ek_ak_and_entropy() {
    let all = cases(VECTORS);
    let (ek, ak, challenge) = keys(&all[2]);
    let (_, other_ak, _) = keys(&all[0]);
    let blob = challenge.seal(&ek, &ak, &[1; SEAL_ENTROPY_BYTES]).unwrap();
    assert_eq!(challenge.seal(&ek, &ak, &[1; SEAL_ENTROPY_BYTES]).unwrap(), blob);
    assert_ne!(challenge.seal(&ek, &other_ak, &[1; SEAL_ENTROPY_BYTES]).unwrap(), blob);
    assert_ne!(challenge.seal(&ek, &ak, &[2; SEAL_ENTROPY_BYTES]).unwrap(), blob);
    assert_eq!(
        challenge.seal(&ek, &ak, &[0; SEAL_ENTROPY_BYTES]),
        Err(CredentialError::Entropy(EntropyExhausted)),
        "zero is no private key"
    );
}

#[test]
fn auth_tags_equal_those_of_real_agents() {
    for case in cases(AUTH_TAGS) {
        let agent = AgentId::parse(text(&case, "agent_id")).unwrap();
        let challenge = CredentialChallenge::from_stored(text(&case, "registrar_key_column")).unwrap();
        assert_eq!(challenge.text, text(&case, "challenge"));
        let tag = text(&case, "auth_tag");
        assert_eq!(challenge.check_auth_tag(&agent, tag), Ok(()));
        assert_eq!(auth_tag(text(&case, "challenge").as_bytes(), &agent), tag);
        let other = AgentId::parse("other").unwrap();
        for (agent, wrong) in [
            (&agent, tag.to_uppercase()),
            (&agent, tag[..94].to_owned()),
            (&agent, String::new()),
            (&agent, tag.replace(&tag[..1], "x")),
            (&other, tag.to_owned()),
        ] {
            assert_eq!(challenge.check_auth_tag(agent, &wrong), Err(WrongAuthTag), "{wrong}");
        }
    }
}

#[test]
fn nothing_printable_holds_the_challenge() {
    let challenge = CredentialChallenge::mint(&[9; CHALLENGE_ENTROPY_BYTES]).unwrap();
    assert_eq!(challenge.text.len(), CHALLENGE_CHARACTERS);
    assert!(!format!("{challenge:?} {WrongAuthTag}").contains(&challenge.text));
    assert_eq!(CredentialChallenge::from_stored("QUJD"), Err(CredentialError::Stored));
    assert_eq!(CredentialChallenge::from_stored("!"), Err(CredentialError::Stored));
}
