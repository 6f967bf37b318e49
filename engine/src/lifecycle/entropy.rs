//! Randomness handed to a transition, and the quote nonce made of it.

use crate::evidence::attestation::Challenge;
use std::fmt;

/// Fresh random bytes for one transition. Never reused for another.
#[derive(Clone)]
pub struct Entropy(pub [u8; Self::LEN]);

impl Entropy {
    /// Enough for a nonce with rejection (each byte is usable with probability 248/256) and for jitter.
    pub const LEN: usize = 64;

    /// Makes the nonce of a quote request.
    ///
    /// Keylime maps each byte modulo 62, which prefers eight of the characters; here the bytes that cause the preference
    /// are left out. Should ever fewer than twenty usable bytes remain, the rest is mapped as Keylime does.
    #[must_use]
    pub fn quote_nonce(&self) -> QuoteNonce {
        let mut text = [b'A'; QuoteNonce::LEN];
        let usable = self.0[1..].iter().filter(|&&byte| byte < 248);
        let fallback = self.0[1..].iter().filter(|&&byte| byte >= 248);
        for (target, byte) in text.iter_mut().zip(usable.chain(fallback)) {
            *target = ALPHABET[usize::from(byte % 62)];
        }
        QuoteNonce(text)
    }

    /// Makes the challenge of an opened attestation.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        let mut bytes = [0; Challenge::LEN];
        bytes.copy_from_slice(&self.0[1..=Challenge::LEN]);
        Challenge::new(bytes)
    }

    /// A byte for jitter, independent of the nonce.
    #[must_use]
    pub fn jitter(&self) -> u8 {
        self.0[0]
    }
}

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

/// Twenty alphanumeric characters that a quote must contain to count as an answer to this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuoteNonce([u8; Self::LEN]);

impl QuoteNonce {
    /// Keylime's length.
    pub const LEN: usize = 20;

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_twenty_alphanumeric_characters_whatever_the_entropy() {
        for value in 0..=255 {
            let nonce = Entropy([value; Entropy::LEN]).quote_nonce();
            assert_eq!(nonce.as_str().len(), 20);
            assert!(nonce.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn cve_2026_6420_every_byte_of_the_entropy_for_a_nonce_reaches_it() {
        let original = Entropy([0; Entropy::LEN]).quote_nonce();
        let reaching = (0..Entropy::LEN).filter(|place| {
            let mut bytes = [0; Entropy::LEN];
            bytes[*place] = 1;
            Entropy(bytes).quote_nonce().as_str() != original.as_str()
        });
        assert!(reaching.count() >= 20, "a constant nonce, or one of less entropy than its length");
    }

    #[test]
    fn the_alphabet_follows_keylime() {
        let mut bytes = [255; Entropy::LEN];
        bytes[1..21].copy_from_slice(&[0, 25, 26, 51, 52, 61, 62, 247, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&Entropy(bytes).quote_nonce().as_str()[..8], "AZaz09A9");
    }
}
