//! JSON text as Python's `json.dumps` writes it.
//!
//! Bodies are compared, hashed and signed by peers, so the separators (`, ` and `: `), the indentation and the escaping of
//! everything beyond ASCII follow Python's defaults.

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// How the members of a document are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One line, `json.dumps(value)`.
    Compact,
    /// One member a line, `json.dumps(value, indent=4)`.
    Indented,
}

/// Writes `value` as Python would.
///
/// # Errors
/// Only when the value cannot be represented in JSON, such as a map whose keys are not texts.
pub fn to_vec<T: Serialize + ?Sized>(value: &T, layout: Layout) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    match layout {
        Layout::Compact => value.serialize(&mut Serializer::with_formatter(&mut out, PythonCompact))?,
        Layout::Indented => {
            let formatter = PythonIndented(PrettyFormatter::with_indent(b"    "));
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
        }
    }
    Ok(out)
}

/// As [`to_vec`], as text.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T, layout: Layout) -> serde_json::Result<String> {
    // Everything beyond ASCII is escaped, so the bytes are always text.
    Ok(to_vec(value, layout)?.into_iter().map(char::from).collect())
}

/// Writes a piece of a text with everything but printable ASCII as `\uXXXX`.
fn write_escaped<W: ?Sized + Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    if fragment.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return writer.write_all(fragment.as_bytes());
    }
    let mut units = [0u16; 2];
    for character in fragment.chars() {
        if (' '..='~').contains(&character) {
            writer.write_all(&[character as u8])?;
        } else {
            for unit in character.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
    }
    Ok(())
}

struct PythonCompact;

impl Formatter for PythonCompact {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment)
    }
}

struct PythonIndented(PrettyFormatter<'static>);

impl Formatter for PythonIndented {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment)
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Expected texts made with CPython 3.11's json module.
    #[test]
    fn compact_has_pythons_separators_and_escapes() {
        let value = json!({"a": [1, "x\n\"\u{7f}\u{1}"], "é": "\u{1f600}", "e": {}, "l": [], "n": null, "t": true});
        assert_eq!(
            to_string(&value, Layout::Compact).unwrap(),
            "{\"a\": [1, \"x\\n\\\"\\u007f\\u0001\"], \"\\u00e9\": \"\\ud83d\\ude00\", \"e\": {}, \"l\": [], \"n\": null, \"t\": true}"
        );
    }

    #[test]
    fn indented_uses_four_spaces_and_keeps_empty_containers_closed() {
        let value = json!({"code": 200, "results": {}, "l": [], "m": ["é"]});
        assert_eq!(
            to_string(&value, Layout::Indented).unwrap(),
            "{\n    \"code\": 200,\n    \"results\": {},\n    \"l\": [],\n    \"m\": [\n        \"\\u00e9\"\n    ]\n}"
        );
    }
}
