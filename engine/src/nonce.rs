//! Nonces and other random texts in Keylime's alphabet (`tpm-formats.md` §2.4).
//!
//! Entropy is an argument; this module only maps it. A byte of 248 or more is skipped, so that every character has the same
//! probability (the reference takes each byte modulo 62, which favours the first eight characters).

use std::fmt;

/// Characters of a quote nonce.
pub const NONCE_CHARACTERS: usize = 20;
/// Bytes of entropy that [`Nonce::mint`] takes; the chance that they do not suffice is below 2^-100.
pub const NONCE_ENTROPY_BYTES: usize = 64;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 that a byte can hold.
const UNBIASED_BELOW: u8 = 248;

/// The nonce of one quote request: 20 alphanumeric characters, used once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nonce(Box<str>);

/// The entropy held too few usable bytes; ask again with fresh entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entropy holds too few usable bytes")]
pub struct EntropyExhausted;

impl Nonce {
    /// Makes a nonce from fresh entropy.
    ///
    /// # Errors
    /// [`EntropyExhausted`].
    pub fn mint(entropy: &[u8; NONCE_ENTROPY_BYTES]) -> Result<Self, EntropyExhausted> {
        Ok(Self(alphanumeric(NONCE_CHARACTERS, entropy)?.into()))
    }

    /// The nonce as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", self.0)
    }
}

/// Maps entropy to `len` characters of `A-Z`, `0-9`, `a-z`; gives about 31 characters for 32 bytes.
///
/// # Errors
/// [`EntropyExhausted`].
pub fn alphanumeric(len: usize, entropy: &[u8]) -> Result<String, EntropyExhausted> {
    let text: String = entropy
        .iter()
        .filter(|byte| **byte < UNBIASED_BELOW)
        .map(|byte| char::from(ALPHABET[usize::from(byte % 62)]))
        .take(len)
        .collect();
    if text.len() == len { Ok(text) } else { Err(EntropyExhausted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_equally_likely() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let text = alphanumeric(248, &every_byte).unwrap();
        for character in ALPHABET {
            assert_eq!(text.bytes().filter(|b| b == character).count(), 4);
        }
        assert_eq!(alphanumeric(249, &every_byte), Err(EntropyExhausted));
    }

    #[test]
    fn a_nonce_depends_on_its_entropy() {
        let first = Nonce::mint(&[7; 64]).unwrap();
        assert_eq!(first.as_str().len(), NONCE_CHARACTERS);
        let mut entropy = [7; 64];
        entropy[19] = 8;
        assert_ne!(Nonce::mint(&entropy).unwrap(), first);
        assert_eq!(Nonce::mint(&[0xFF; 64]), Err(EntropyExhausted));
    }
}
