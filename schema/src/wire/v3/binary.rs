//! Binary members: standard base64 on the way out; base64 or hexadecimal on the way in.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// Base64 with padding, whose unused last bits may be anything, as Python's decoder has it.
const ANY_TRAILING_BITS: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Why a text is no binary value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// The text is longer than anything that is accepted here.
    #[error("binary value is longer than {0} bytes")]
    TooLong(usize),
    /// Neither base64 with padding nor hexadecimal digits.
    #[error("binary value is neither base64 nor hexadecimal")]
    Encoding,
}

/// Reads a text of at most `max_bytes` decoded bytes: padded base64 first, then hexadecimal digits after an optional `0x`.
///
/// Base64 wins, so a hexadecimal text whose length is a multiple of four is read as base64 (the reference's rule, which its
/// agents' identifiers depend on). The bound is applied before anything is decoded.
///
/// # Errors
/// See [`BinaryError`].
pub fn decode(text: &str, max_bytes: usize) -> Result<Vec<u8>, BinaryError> {
    // Hexadecimal needs most characters: two for each byte and the prefix.
    if text.len() > max_bytes.saturating_mul(2).saturating_add(2) {
        return Err(BinaryError::TooLong(max_bytes));
    }
    let bytes = match ANY_TRAILING_BITS.decode(text) {
        Ok(bytes) => bytes,
        Err(_) => hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| BinaryError::Encoding)?,
    };
    if bytes.len() > max_bytes { Err(BinaryError::TooLong(max_bytes)) } else { Ok(bytes) }
}

/// Writes bytes as they go out.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_comes_before_hexadecimal() {
        assert_eq!(decode("abcd", 8).unwrap(), [0x69, 0xb7, 0x1d]);
        assert_eq!(encode(&decode("abcd", 8).unwrap()), "abcd");
        assert_eq!(encode(&decode("0x616263", 8).unwrap()), "0x616263");
        assert_eq!(decode("616263", 8).unwrap(), b"abc");
        assert_eq!(decode("0x6162", 8).unwrap(), b"ab");
        assert_eq!(decode("", 8).unwrap(), b"");
        for text in ["Q", "QQ", "Q Q=", "!!!!", "0x", "abc"] {
            assert_eq!(decode(text, 8).is_err(), text != "0x", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes), 200).unwrap(), bytes);
        }

        #[test]
        fn no_text_yields_more_than_the_bound(text in "(0x)?[0-9a-fA-F+/=]{0,64}", max in 0usize..40) {
            if let Ok(bytes) = decode(&text, max) {
                prop_assert!(bytes.len() <= max);
            }
        }
    }
}
