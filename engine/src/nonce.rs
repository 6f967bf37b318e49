//! Random texts in Keylime's alphabet, for nonces and challenges (`tpm-formats.md` §2.4).
//!
//! Entropy is an argument; this module only maps it. A byte of 248 or more is skipped, so that every character has the same
//! probability (the reference takes each byte modulo 62, which favours the first eight characters).

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 that a byte can hold.
const UNBIASED_BELOW: u8 = 248;

/// The entropy held too few usable bytes; ask again with fresh entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entropy holds too few usable bytes")]
pub struct EntropyExhausted;

/// Maps entropy to `len` characters of `A-Z`, `0-9`, `a-z`; 32 bytes give about 31 characters.
///
/// Twice as many bytes as characters fail with a probability below 2^-60 for 20 characters.
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
}
