//! The AES-GCM envelope of Keylime: base64 of a 16-byte IV, the ciphertext and a 16-byte tag, without further data.
//!
//! The IV is longer than the usual 12 bytes, so GCM derives its first counter block with GHASH (NIST SP 800-38D, 7.1).
//! Keystores use 32-byte keys; agents also accept 16-byte ones for their payload.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::{Aes128, Aes256};
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Length of the initialisation vector, in bytes.
pub const IV_BYTES: usize = 16;
/// Length of the authentication tag, in bytes.
pub const TAG_BYTES: usize = 16;
/// Largest plaintext that is sealed and largest envelope that is opened, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// Why an envelope was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// The key has neither 16 nor 32 bytes.
    #[error("key has neither 16 nor 32 bytes")]
    KeyLength,
    /// The data exceeds [`MAX_PAYLOAD_BYTES`].
    #[error("payload is longer than {MAX_PAYLOAD_BYTES} bytes")]
    TooLong,
    /// The envelope is not base64, or too short for an IV and a tag.
    #[error("envelope is not base64 of an initialisation vector, a ciphertext and a tag")]
    Envelope,
    /// Tag and ciphertext do not belong to the key.
    #[error("authentication tag does not match")]
    Authentication,
    /// The random generator of the system failed.
    #[error("random generator failed")]
    Entropy,
}

/// Encrypts with a fresh random IV.
///
/// # Errors
/// [`CipherError::KeyLength`], [`CipherError::TooLong`] or [`CipherError::Entropy`].
pub fn seal(key: &[u8], plaintext: &[u8]) -> Result<String, CipherError> {
    let mut iv = [0; IV_BYTES];
    aws_lc_rs::rand::fill(&mut iv).map_err(|_| CipherError::Entropy)?;
    seal_with_iv(key, &iv, plaintext)
}

/// Encrypts with the IV given; only [`seal`] and tests with known answers choose one.
fn seal_with_iv(key: &[u8], iv: &[u8; IV_BYTES], plaintext: &[u8]) -> Result<String, CipherError> {
    if plaintext.len() > MAX_PAYLOAD_BYTES {
        return Err(CipherError::TooLong);
    }
    let nonce = Nonce::<U16>::from(*iv);
    let sealed = match Cipher::new(key)? {
        Cipher::Aes128(cipher) => cipher.encrypt(&nonce, plaintext),
        Cipher::Aes256(cipher) => cipher.encrypt(&nonce, plaintext),
    }
    .map_err(|_| CipherError::TooLong)?;
    let mut envelope = Vec::with_capacity(IV_BYTES + sealed.len());
    envelope.extend_from_slice(iv);
    envelope.extend_from_slice(&sealed);
    Ok(STANDARD.encode(envelope))
}

/// Decrypts and authenticates.
///
/// # Errors
/// Any [`CipherError`] but [`CipherError::Entropy`].
pub fn open(key: &[u8], envelope: &[u8]) -> Result<Vec<u8>, CipherError> {
    if envelope.len() > MAX_PAYLOAD_BYTES / 3 * 4 {
        return Err(CipherError::TooLong);
    }
    let bytes = STANDARD.decode(envelope.trim_ascii()).map_err(|_| CipherError::Envelope)?;
    let (iv, sealed) = bytes.split_first_chunk::<IV_BYTES>().ok_or(CipherError::Envelope)?;
    if sealed.len() < TAG_BYTES {
        return Err(CipherError::Envelope);
    }
    let nonce = Nonce::<U16>::from(*iv);
    match Cipher::new(key)? {
        Cipher::Aes128(cipher) => cipher.decrypt(&nonce, sealed),
        Cipher::Aes256(cipher) => cipher.decrypt(&nonce, sealed),
    }
    .map_err(|_| CipherError::Authentication)
}

enum Cipher {
    Aes128(Box<AesGcm<Aes128, U16>>),
    Aes256(Box<AesGcm<Aes256, U16>>),
}

impl Cipher {
    fn new(key: &[u8]) -> Result<Self, CipherError> {
        if let Ok(cipher) = AesGcm::<Aes256, U16>::new_from_slice(key) {
            return Ok(Self::Aes256(Box::new(cipher)));
        }
        AesGcm::<Aes128, U16>::new_from_slice(key)
            .map(|cipher| Self::Aes128(Box::new(cipher)))
            .map_err(|_| CipherError::KeyLength)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_with_both_key_lengths() {
        for key in [&[7_u8; 16][..], &[9; 32]] {
            let envelope = seal(key, b"secret").unwrap();
            assert_eq!(open(key, envelope.as_bytes()).unwrap(), b"secret");
        }
    }

    #[test]
    fn an_empty_plaintext_is_iv_and_tag_only() {
        let envelope = seal(&[1; 32], b"").unwrap();
        assert_eq!(STANDARD.decode(envelope).unwrap().len(), IV_BYTES + TAG_BYTES);
    }

    #[test]
    fn refuses_a_changed_byte_a_short_envelope_and_an_odd_key() {
        let mut bytes = STANDARD.decode(seal(&[1; 32], b"text").unwrap()).unwrap();
        bytes[17] ^= 1;
        assert_eq!(open(&[1; 32], STANDARD.encode(bytes).as_bytes()), Err(CipherError::Authentication));
        assert_eq!(open(&[1; 32], STANDARD.encode([0; 20]).as_bytes()), Err(CipherError::Envelope));
        assert_eq!(open(&[1; 24], STANDARD.encode([0; 40]).as_bytes()), Err(CipherError::KeyLength));
    }
}
