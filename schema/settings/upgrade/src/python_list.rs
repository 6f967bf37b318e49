//! Lists of the unversioned file, written in any of three ways, as the Python list literals of the split format.

use keylime_settings::python_literal::{self, Literal};
use serde_json::Value;

/// The text of an option as a Python list. `default` and list literals stay as they are; a tuple becomes a list; anything
/// else is taken for items separated by commas.
#[must_use]
pub fn as_list(text: &str) -> String {
    if text == "default" {
        return text.to_owned();
    }
    match python_literal::parse(text) {
        Ok(Literal::Value(Value::Array(_))) => text.to_owned(),
        Ok(Literal::Tuple(items)) => list(items.iter().map(repr)),
        Ok(Literal::Value(_)) | Err(_) => {
            let items = text.trim_matches(['[', ']']).split(',').map(str::trim).filter(|item| !item.is_empty());
            list(items.map(|item| repr(&Value::from(item))))
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A value as Python's `repr` writes it.
fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => list(items.iter().map(repr)),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", quoted(name), repr(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut result = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            _ if character == quote => {
                result.push('\\');
                result.push(character);
            }
            _ => result.push(character),
        }
    }
    result.push(quote);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_list_becomes_a_literal() {
        for (text, expected) in [
            ("default", "default"),
            ("[agent]", "['agent']"),
            ("agent, zeromq,", "['agent', 'zeromq']"),
            ("['a', \"b\"]", "['a', \"b\"]"),
            ("('a', 1, None)", "['a', 1, None]"),
            ("", "[]"),
            ("[]", "[]"),
            ("it's", "[\"it's\"]"),
            ("'one'", "[\"'one'\"]"),
        ] {
            assert_eq!(as_list(text), expected, "{text}");
        }
    }
}
