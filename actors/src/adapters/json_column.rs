//! Keylime's JSON columns: JSON text, where Python's `None` is SQL NULL or the text `null`, and where one more level of
//! encoding may be around the value (`verifier-db.md` §3).

use serde_json::Value;

/// Reads a column; absent values are `Value::Null`.
pub(super) fn decode(text: Option<&str>) -> Result<Value, String> {
    let Some(text) = text else { return Ok(Value::Null) };
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    match value {
        Value::String(inner) => Ok(serde_json::from_str(&inner).unwrap_or(Value::String(inner))),
        other => Ok(other),
    }
}

/// Reads `tpm_policy`: a JSON string that holds JSON text. Older rows hold the object itself, or plain text.
pub(super) fn decode_policy_text(text: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => inner,
        Ok(Value::Null) => String::new(),
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// Reads a list of texts; an absent one is empty.
pub(super) fn decode_texts(text: Option<&str>) -> Result<Vec<String>, String> {
    decode_list(text, |item| match item {
        Value::String(item) => Some(item),
        _ => None,
    })
}

/// Reads a list of whole numbers; an absent one is empty.
pub(super) fn decode_integers(text: Option<&str>) -> Result<Vec<i64>, String> {
    decode_list(text, |item| item.as_i64())
}

/// Writes a value with nothing but ASCII in it, as Keylime does; so it fits into a column of any character set.
pub(super) fn encode(value: &Value) -> String {
    escape_non_ascii(value.to_string())
}

/// Writes a text as a JSON string, in ASCII.
pub(super) fn encode_text(text: &str) -> String {
    encode(&Value::String(text.to_owned()))
}

/// Writes a list of texts.
pub(super) fn encode_texts(texts: &[String]) -> String {
    encode(&Value::Array(texts.iter().cloned().map(Value::String).collect()))
}

/// Writes a list of whole numbers.
pub(super) fn encode_integers(numbers: &[i64]) -> String {
    Value::Array(numbers.iter().copied().map(Value::from).collect()).to_string()
}

fn decode_list<T>(text: Option<&str>, item: impl Fn(Value) -> Option<T>) -> Result<Vec<T>, String> {
    match decode(text)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            items.into_iter().map(|value| item(value).ok_or_else(|| "unexpected list item".to_owned())).collect()
        }
        _ => Err("not a list".to_owned()),
    }
}

fn escape_non_ascii(text: String) -> String {
    if text.is_ascii() {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_every_form_of_none() {
        assert_eq!(decode(None), Ok(Value::Null));
        assert_eq!(decode(Some("null")), Ok(Value::Null));
        assert_eq!(decode(Some("\"null\"")), Ok(Value::Null));
        assert_eq!(decode_texts(Some("null")), Ok(vec![]));
        assert_eq!(decode_policy_text(Some("null")), "");
        assert_eq!(decode_policy_text(None), "");
    }

    #[test]
    fn reads_values_with_and_without_another_level_of_encoding() {
        assert_eq!(decode(Some(r#"{"clock": 5}"#)), Ok(json!({"clock": 5})));
        assert_eq!(decode(Some(r#""{\"clock\": 5}""#)), Ok(json!({"clock": 5})));
        assert_eq!(decode_integers(Some(r#""[10]""#)), Ok(vec![10]));
        assert_eq!(decode_policy_text(Some(r#""{\"mask\": \"0x400\"}""#)), r#"{"mask": "0x400"}"#);
        assert_eq!(decode_policy_text(Some(r#"{"mask": "0x400"}"#)), r#"{"mask": "0x400"}"#);
    }

    #[test]
    fn names_what_it_cannot_read() {
        assert!(decode(Some("{")).is_err());
        assert_eq!(decode_texts(Some("{}")), Err("not a list".to_owned()));
        assert_eq!(decode_integers(Some("[1.5]")), Err("unexpected list item".to_owned()));
    }

    #[test]
    fn writes_what_python_writes() {
        assert_eq!(encode_text(r#"{"mask":"0x0"}"#), r#""{\"mask\":\"0x0\"}""#);
        assert_eq!(encode_text("ü𝄞"), r#""\u00fc\ud834\udd1e""#);
    }

    proptest! {
        #[test]
        fn a_policy_text_comes_back(text in "\\PC{0,40}") {
            let stored = encode_text(&text);
            prop_assert!(stored.is_ascii());
            prop_assert_eq!(decode_policy_text(Some(&stored)), text);
        }

        #[test]
        fn any_column_text_is_an_answer(text in "\\PC{0,60}") {
            let _ = decode(Some(&text));
            let _ = decode_texts(Some(&text));
            let _ = decode_integers(Some(&text));
        }
    }
}
