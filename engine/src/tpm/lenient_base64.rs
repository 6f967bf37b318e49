//! Base64 as Keylime's Python reads it: characters outside the alphabet are skipped.
//!
//! RFC 4648 §3.3 lets a decoder ignore them only when its specification says so; Keylime's wire format does
//! (`tpm-formats.md` §2). What a strict decoder accepts decodes to the same bytes here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A text that is not base64 even when foreign characters are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBase64 {
    /// The number of characters leaves six bits over.
    #[error("invalid base64-encoded string: number of data characters cannot be 1 more than a multiple of 4")]
    Length,
    /// The padding at the end is missing or too short.
    #[error("incorrect padding")]
    Padding,
}

/// Decodes standard base64, skipping foreign characters and everything after the padding.
///
/// The result is never longer than three quarters of the text, so bounding the text bounds the result.
///
/// # Errors
/// See [`InvalidBase64`].
pub fn decode(text: &[u8]) -> Result<Vec<u8>, InvalidBase64> {
    STANDARD.decode(text).or_else(|_| decode_leniently(text))
}

fn decode_leniently(text: &[u8]) -> Result<Vec<u8>, InvalidBase64> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut chars, mut pads) = (0_u32, 0_u8, 0_u8);
    for &byte in text {
        if byte == b'=' {
            pads = pads.saturating_add(1);
            if chars >= 2 && chars.saturating_add(pads) >= 4 {
                return Ok(out);
            }
            continue;
        }
        let Some(value) = value_of(byte) else { continue };
        pads = 0;
        bits = bits << 6 | u32::from(value);
        chars += 1;
        match chars {
            2 => push_low_byte(&mut out, bits >> 4),
            3 => push_low_byte(&mut out, bits >> 2),
            4 => {
                push_low_byte(&mut out, bits);
                (bits, chars) = (0, 0);
            }
            _ => {}
        }
    }
    match chars {
        0 => Ok(out),
        1 => Err(InvalidBase64::Length),
        _ => Err(InvalidBase64::Padding),
    }
}

fn push_low_byte(out: &mut Vec<u8>, bits: u32) {
    out.push(bits.to_be_bytes()[3]);
}

const fn value_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn skips_foreign_characters_and_what_follows_the_padding() {
        assert_eq!(decode(b"QWJ\n DZ!g==").unwrap(), b"AbCf");
        assert_eq!(decode(b"QQ==QQ==").unwrap(), b"A");
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"====").unwrap(), b"");
        assert_eq!(decode(b"QR==").unwrap(), b"A");
    }

    #[test]
    fn refuses_what_python_refuses() {
        assert_eq!(decode(b"A"), Err(InvalidBase64::Length));
        assert_eq!(decode(b"QUI"), Err(InvalidBase64::Padding));
        assert_eq!(decode(b"QQ="), Err(InvalidBase64::Padding));
    }

    proptest! {
        #[test]
        fn is_total_and_bounded(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(data) = decode(&text) {
                prop_assert!(data.len() <= text.len() / 4 * 3 + 3);
            }
        }

        #[test]
        fn agrees_with_a_strict_decoder(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = STANDARD.encode(&data);
            prop_assert_eq!(decode_leniently(text.as_bytes()).unwrap(), data);
        }
    }
}
