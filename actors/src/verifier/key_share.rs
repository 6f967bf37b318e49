//! Encrypts an agent's key share V for delivery (`agent-api.md` §3): RSA-OAEP with SHA-1 under the agent's payload key.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// The JSON body of `POST …/keys/vkey` for a share in base64 and a payload key in PEM.
///
/// # Errors
/// The share or the key is malformed; the text says which.
pub fn encrypted_share(share: &str, payload_key_pem: &str) -> Result<String, String> {
    let share = STANDARD.decode(share).map_err(|error| format!("the key share is not base64: {error}"))?;
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(payload_key_pem.as_bytes())
        .map_err(|error| format!("the payload key is not a public key in PEM: {error}"))?;
    let key = PublicEncryptingKey::from_der(&spki).map_err(|_| "the payload key is not a usable RSA key".to_owned())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| "the payload key is not a usable RSA key".to_owned())?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &share, &mut ciphertext, None)
        .map_err(|_| "the key share is too long for the payload key".to_owned())?
        .len();
    Ok(format!(r#"{{"encrypted_key": "{}"}}"#, STANDARD.encode(&ciphertext[..length])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    fn key_pair() -> (PrivateDecryptingKey, String) {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der = private.public_key().as_der().unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
        (private, pem)
    }

    #[test]
    fn the_agent_can_decrypt_what_it_is_sent() {
        let (private, pem) = key_pair();
        let body = encrypted_share(&STANDARD.encode([7; 32]), &pem).unwrap();
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        let ciphertext = STANDARD.decode(document["encrypted_key"].as_str().unwrap()).unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let mut plaintext = vec![0; private.min_output_size()];
        let share = private.decrypt(&OAEP_SHA1_MGF1SHA1, &ciphertext, &mut plaintext, None).unwrap();
        assert_eq!(share, [7; 32]);
    }

    #[test]
    fn malformed_shares_and_keys_are_named() {
        let (_, pem) = key_pair();
        assert!(encrypted_share("!", &pem).unwrap_err().contains("not base64"));
        assert!(encrypted_share("AAAA", "no key").unwrap_err().contains("PEM"));
        assert!(encrypted_share(&STANDARD.encode([0; 300]), &pem).unwrap_err().contains("too long"));
    }
}
