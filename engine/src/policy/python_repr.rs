//! JSON values written as Python's `repr` writes them: Keylime's messages about malformed policies quote them that way.

use serde_json::Value;
use std::fmt::Write as _;

/// Longest text produced; a malformed policy of many megabytes must not come back in its own error message.
pub const MAX_REPR_BYTES: usize = 2000;

/// The value as Python prints it, cut off after [`MAX_REPR_BYTES`].
#[must_use]
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// A text as Python prints it, in quotes.
#[must_use]
pub fn repr_str(text: &str) -> String {
    let mut out = String::new();
    write_str(text, &mut out);
    out
}

/// Bytes as Python prints them: `b'...'`.
#[must_use]
pub fn repr_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            _ if char::from(byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            0x20..=0x7E => out.push(char::from(byte)),
            _ => write_code(&mut out, u32::from(byte)),
        }
    }
    out.push(quote);
    out
}

fn write_value(value: &Value, out: &mut String) {
    if out.len() > MAX_REPR_BYTES {
        return;
    }
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&repr_float(float)),
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => write_str(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if out.len() > MAX_REPR_BYTES {
                    break;
                }
                if index > 0 {
                    out.push_str(", ");
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if out.len() > MAX_REPR_BYTES {
                    break;
                }
                if index > 0 {
                    out.push_str(", ");
                }
                write_str(key, out);
                out.push_str(": ");
                write_value(member, out);
            }
            out.push('}');
        }
    }
}

fn write_str(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        if out.len() > MAX_REPR_BYTES {
            out.push('…');
            break;
        }
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ if character == quote => {
                out.push('\\');
                out.push(quote);
            }
            ' '..='~' => out.push(character),
            // Rust's own notion of "printable" stands for Python's; they differ on combining marks only.
            _ if character.escape_debug().len() > 1 => write_code(out, u32::from(character)),
            _ => out.push(character),
        }
    }
    out.push(quote);
}

fn write_code(out: &mut String, code: u32) {
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0xFF => write!(out, "\\x{code:02x}"),
        0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

fn repr_float(float: f64) -> String {
    let text = format!("{float:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_like_pythons() {
        let value = json!({"a": [1, -2.5, true, null], "b'": "x\n\"'\u{7}é\u{200b}"});
        assert_eq!(repr(&value), r#"{'a': [1, -2.5, True, None], "b'": 'x\n"\'\x07é\u200b'}"#);
        assert_eq!(repr(&json!(1e30)), "1e+30");
        assert_eq!(repr(&json!(1.5e-7)), "1.5e-07");
        assert_eq!(repr(&json!(1.0)), "1.0");
    }

    #[test]
    fn bytes_look_like_pythons() {
        assert_eq!(repr_bytes(b"a'\x00\xff\n\\"), r#"b"a'\x00\xff\n\\""#);
        assert_eq!(repr_bytes(b"'\""), r#"b'\'"'"#);
    }

    #[test]
    fn long_values_are_cut() {
        assert!(repr(&json!("x".repeat(1_000_000))).len() < MAX_REPR_BYTES + 10);
        assert!(repr(&json!(vec!["x"; 1_000_000])).len() < MAX_REPR_BYTES + 20);
    }
}
