//! Hexadecimal fields of a measurement list, read as Python's `bytes.fromhex` reads them.
//!
//! Keylime decodes every field that way (`ima.md` §2): letters of either case, ASCII white space skipped between pairs
//! and at the ends, everything else an error. Fields are decoded straight into the caller's buffer.

/// Why a text is not hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not hexadecimal at character {position}")]
pub struct HexError {
    /// Offset of the offending byte, or of the end of the text when a digit is missing there.
    pub position: usize,
}

const INVALID: u8 = 0xFF;

/// Value of each digit, [`INVALID`] for all other bytes.
const NIBBLE: [u8; 256] = {
    let mut table = [INVALID; 256];
    let mut value = 0_u8;
    while value < 16 {
        let digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        table[digit as usize] = value;
        table[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    table
};

/// Decodes `text` and appends the bytes to `out`; `out` keeps its former content when the text is not hexadecimal.
///
/// # Errors
/// [`HexError`] with the position of the first offending byte.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), HexError> {
    let start = out.len();
    if decode_pairs(text, out) {
        return Ok(());
    }
    out.truncate(start);
    decode_spaced(text, out).inspect_err(|_| out.truncate(start))
}

/// The common case: pairs of digits and nothing else.
fn decode_pairs(text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + text.len() / 2, 0);
    faster_hex::hex_decode(text, &mut out[start..]).is_ok()
}

fn decode_spaced(text: &[u8], out: &mut Vec<u8>) -> Result<(), HexError> {
    let mut position = 0;
    while let Some(&byte) = text.get(position) {
        if is_python_space(byte) {
            position += 1;
            continue;
        }
        let high = NIBBLE[usize::from(byte)];
        if high == INVALID {
            return Err(HexError { position });
        }
        let low = text.get(position + 1).map_or(INVALID, |&b| NIBBLE[usize::from(b)]);
        if low == INVALID {
            return Err(HexError { position: position + 1 });
        }
        out.push((high << 4) | low);
        position += 2;
    }
    Ok(())
}

fn is_python_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Vec<u8>, HexError> {
        let mut out = vec![9];
        let result = decode_into(text.as_bytes(), &mut out);
        assert_eq!(out[0], 9);
        result.map(|()| out.split_off(1))
    }

    #[test]
    fn reads_what_fromhex_reads() {
        assert_eq!(decode("").unwrap(), b"");
        assert_eq!(decode("0aFf").unwrap(), [0x0A, 0xFF]);
        assert_eq!(decode(" 0a\t\u{b}0B\u{c}\r\n").unwrap(), [0x0A, 0x0B]);
    }

    #[test]
    fn refuses_what_fromhex_refuses() {
        for (text, position) in [("0", 1), ("0 a", 1), ("zz", 0), ("0g", 1), ("00é", 2), ("000", 3), ("0\u{a0}", 1)] {
            assert_eq!(decode(text), Err(HexError { position }), "{text:?}");
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&hex::encode(&all)).unwrap(), all);
        assert_eq!(decode(&hex::encode_upper(&all)).unwrap(), all);
    }
}
