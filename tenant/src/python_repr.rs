//! JSON values in the notation of Python's `repr`, which Keylime's tenant prints policy answers in.

use std::fmt::Write as _;

use serde_json::Value;

/// Deepest nesting that is written; deeper parts become `...`, as JSON from a server bounds it anyway.
const MAX_DEPTH: usize = 128;

/// A value as Python prints the object `json.loads` makes of it.
#[must_use]
pub fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, 0);
    text
}

/// A list of texts as Python prints it.
#[must_use]
pub fn repr_list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| repr_text(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        text.push_str("...");
        return;
    }
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => text.push_str(&repr_text(string)),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_value(text, item, depth + 1);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                text.push_str(&repr_text(key));
                text.push_str(": ");
                write_value(text, member, depth + 1);
            }
            text.push('}');
        }
    }
}

/// A text in single quotes, or in double quotes if it holds single quotes and no double ones.
fn repr_text(string: &str) -> String {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    let mut text = String::with_capacity(string.len() + 2);
    text.push(quote);
    for character in string.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if character == quote => text.extend(['\\', character]),
            _ if is_printable(character) => text.push(character),
            _ => {
                let code = u32::from(character);
                // Writing to a String cannot fail.
                let _ = match code {
                    0..=0xff => write!(text, "\\x{code:02x}"),
                    0x100..=0xffff => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
        }
    }
    text.push(quote);
    text
}

/// Whether Python prints a character as it is. Python asks Unicode's categories; this takes control, format, private and
/// separator characters for unprintable and everything else for printable.
fn is_printable(character: char) -> bool {
    let separator = character.is_whitespace() && character != ' ';
    let format = matches!(
        character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}'
    );
    let noncharacter = u32::from(character) & 0xfffe == 0xfffe || matches!(character, '\u{fdd0}'..='\u{fdef}');
    !(character.is_control() || separator || format || noncharacter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Expected texts made with CPython 3.11.
    #[test]
    fn prints_what_python_prints() {
        let value = json!({"code": 200, "n": null, "t": true, "l": [1, -2, []], "o": {}, "s": "it's", "d": "a'b\"c"});
        assert_eq!(
            repr(&value),
            "{'code': 200, 'n': None, 't': True, 'l': [1, -2, []], 'o': {}, 's': \"it's\", 'd': 'a\\'b\"c'}"
        );
        assert_eq!(
            repr(&json!("a\n\t\\\u{7f}\u{e9}\u{a0}\u{200b}\u{1f600}")),
            "'a\\n\\t\\\\\\x7f\u{e9}\\xa0\\u200b\u{1f600}'"
        );
        assert_eq!(repr_list(&["1.0", "2.6"]), "['1.0', '2.6']");
    }
}
