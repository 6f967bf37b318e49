//! Elliptic-curve keys that sign policies (`runtime-policy.md` §5).

use aws_lc_rs::digest::{Algorithm, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::verification_key::{Curve, VerificationKey};

/// Why a key cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// A key of another type, or on a curve that is not supported.
    #[error("Only elliptic curve keys are supported")]
    NotElliptic,
    /// No unencrypted private key in PEM form.
    #[error("the file holds no unencrypted private key in PEM form")]
    NotAKey,
    /// The cryptographic library refuses.
    #[error("the key cannot be used: {0}")]
    Refused(String),
}

/// A private key on P-256, P-384, P-521 or secp256k1.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    curve: Curve,
}

/// Curves with their algorithms; signatures are over SHA-256 on every curve, brought to the width of the one named here.
const CURVES: [(Curve, &EcdsaSigningAlgorithm, &Algorithm); 4] = [
    (Curve::P256, &signature::ECDSA_P256_SHA256_ASN1_SIGNING, &SHA256),
    (Curve::P384, &signature::ECDSA_P384_SHA384_ASN1_SIGNING, &SHA384),
    (Curve::P521, &signature::ECDSA_P521_SHA512_ASN1_SIGNING, &SHA512),
    (Curve::Secp256k1, &signature::ECDSA_P256K1_SHA256_ASN1_SIGNING, &SHA256),
];

impl SigningKey {
    /// A new key on P-256.
    ///
    /// # Errors
    /// The library cannot make one.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let refused = |_| SigningKeyError::Refused("no key could be generated".to_owned());
        let pair = EcdsaKeyPair::generate(CURVES[0].1).map_err(refused)?;
        Ok(Self { pair, curve: Curve::P256 })
    }

    /// Reads an unencrypted private key in PEM form.
    ///
    /// # Errors
    /// See [`SigningKeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SigningKeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| SigningKeyError::NotAKey)?;
        if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            return Err(SigningKeyError::NotElliptic);
        }
        let der = ["EC PRIVATE KEY", "PRIVATE KEY"].into_iter().find_map(|label| block(text, label));
        let der = der.ok_or(SigningKeyError::NotAKey)?;
        for (curve, algorithm, _) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, &der) {
                return Ok(Self { pair, curve });
            }
        }
        Err(SigningKeyError::NotElliptic)
    }

    /// The private key in PEM form, as OpenSSL's older tools write it (RFC 5915).
    ///
    /// # Errors
    /// The library cannot encode it.
    pub fn to_pem(&self) -> Result<String, SigningKeyError> {
        Ok(armoured("EC PRIVATE KEY", &self.to_der()?))
    }

    /// The private key in DER form (RFC 5915).
    ///
    /// # Errors
    /// The library cannot encode it.
    pub fn to_der(&self) -> Result<Vec<u8>, SigningKeyError> {
        let refused = |_| SigningKeyError::Refused("the key cannot be encoded".to_owned());
        let der: EcPrivateKeyRfc5915Der<'_> = self.pair.private_key().as_der().map_err(refused)?;
        Ok(der.as_ref().to_vec())
    }

    /// Its public half.
    ///
    /// # Errors
    /// The point is not usable, which a key that signs does not have.
    pub fn public(&self) -> Result<VerificationKey, SigningKeyError> {
        VerificationKey::from_point(self.curve, self.pair.public_key().as_ref())
            .map_err(|error| SigningKeyError::Refused(error.to_string()))
    }

    /// An ECDSA signature with SHA-256, in DER form. A hash that is shorter than the curve stands for the same number
    /// with zeros before it (FIPS 186-5 §6.4.1).
    ///
    /// # Errors
    /// The library refuses.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        let refused = |_| SigningKeyError::Refused("signing failed".to_owned());
        let width = CURVES.iter().find(|(curve, _, _)| *curve == self.curve).map_or(&SHA256, |(_, _, hash)| *hash);
        let digest = HashAlgorithm::Sha256.digest(&[message]);
        let mut padded = [0; 64];
        let length = width.output_len();
        padded[length - digest.as_bytes().len()..length].copy_from_slice(digest.as_bytes());
        let digest = Digest::import_less_safe(&padded[..length], width).map_err(refused)?;
        Ok(self.pair.sign_digest(&digest).map_err(refused)?.as_ref().to_vec())
    }
}

/// DER in PEM form (RFC 7468).
#[must_use]
pub fn armoured(label: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), lines)
}

/// The bytes of the first block with this label.
fn block(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, body) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = body.split_once(&format!("-----END {label}-----"))?;
    let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::ima::file_signature::SignatureHash;

    #[test]
    fn signatures_verify_on_every_curve() {
        for (curve, algorithm, _) in CURVES {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
            let key = SigningKey::from_pem(armoured("EC PRIVATE KEY", der.as_ref()).as_bytes()).unwrap();
            let digest = HashAlgorithm::Sha256.digest(&[b"message"]);
            let signature = key.sign(b"message").unwrap();
            assert!(key.public().unwrap().verifies(SignatureHash::Sha256, digest.as_bytes(), &signature), "{curve:?}");
            let again = SigningKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!(again.public().unwrap(), key.public().unwrap());
        }
    }

    #[test]
    fn other_keys_are_refused() {
        assert_eq!(SigningKey::from_pem(b"none").err(), Some(SigningKeyError::NotAKey));
        let rsa = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert_eq!(SigningKey::from_pem(rsa.as_bytes()).err(), Some(SigningKeyError::NotElliptic));
    }
}
