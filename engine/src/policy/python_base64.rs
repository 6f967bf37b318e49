//! Base64 as Python's standard library decodes it; which texts it takes decides which keys and envelopes are read.

/// Base64 as Python's `b64decode` reads it without `validate`: other characters are skipped, padding must come out even.
#[must_use]
pub fn lenient(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut quad, mut pads) = (0_u32, 0_u8, 0_u8);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                if quad >= 2 {
                    pads += 1;
                    if quad + pads >= 4 {
                        return Some(out);
                    }
                }
                continue;
            }
            _ => continue,
        };
        pads = 0;
        bits = (bits << 6) | u32::from(value);
        quad = (quad + 1) % 4;
        if quad != 1 {
            let shift = [0, 0, 4, 2][usize::from(quad)];
            out.push(u8::try_from((bits >> shift) & 0xFF).unwrap_or_default());
        }
    }
    (quad == 0).then_some(out)
}

/// Base64 as Python's `b64decode` reads it with `validate`: no other characters, padding at the end only. Unused bits of the
/// last character may be set, and a text that needs no padding may have some.
#[must_use]
pub fn strict(text: &str) -> Option<Vec<u8>> {
    let data = text.trim_end_matches('=');
    let pads = text.len() - data.len();
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let even = match data.len() % 4 {
        0 => pads == 0 || !data.is_empty(),
        2 => pads == 2,
        3 => pads == 1,
        _ => false,
    };
    if even && data.bytes().all(alphabet) { lenient(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_skips_what_it_does_not_know() {
        let cases = [
            ("QUJD", &b"ABC"[..]),
            ("!!!", b""),
            ("QU\nI=", b"AB"),
            ("QQ==QUJD", b"A"),
            ("=QUJD", b"ABC"),
            ("QU=J=D", b"AB"),
            ("QU=JD", b"ABC"),
        ];
        for (text, bytes) in cases {
            assert_eq!(lenient(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["QUJDR", "QQ", "QQ=", "QUI", "Q=Q="] {
            assert_eq!(lenient(text), None, "{text}");
        }
    }

    #[test]
    fn strict_takes_no_other_characters() {
        for (text, bytes) in
            [("", &b""[..]), ("zz==", b"\xcf"), ("QUJD=", b"ABC"), ("QUJD==", b"ABC"), ("/+==", b"\xff")]
        {
            assert_eq!(strict(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["QUI==", "QQ=", "QQ===", "=", "QQ==QUJD", "Q=Q=", "QUJD\n", "Q", "QUJ", "a-_b"] {
            assert_eq!(strict(text), None, "{text}");
        }
    }
}
