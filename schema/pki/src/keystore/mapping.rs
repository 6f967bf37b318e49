//! The subset of YAML 1.1 that keystores use: one mapping of texts, integers, binaries and lists of texts.
//!
//! Reads what PyYAML writes for such data, and writes text that PyYAML reads as the same data: `!!binary` block
//! scalars with lines of 76 characters, keys in order, texts plain where no YAML rule could read them as another type.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most entries of a mapping and of a list.
const MAX_ENTRIES: usize = 100_000;
const BASE64_LINE: usize = 76;

/// A value of a keystore mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Binary(Vec<u8>),
    Text(String),
    Integer(i64),
    List(Vec<String>),
}

/// Why a text is not a keystore mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A line is not part of the subset of YAML that keystores use.
    #[error("line {0} is not understood")]
    Line(usize),
    /// A binary value is not base64.
    #[error("line {0} does not start valid base64")]
    Base64(usize),
    /// A key occurs twice.
    #[error("line {0} repeats a key")]
    Duplicate(usize),
    /// There are more entries than a keystore may have.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// Reads a mapping.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Value>, MappingError> {
    let mut lines = Lines { lines: text.lines().collect(), next: 0 };
    let mut mapping = BTreeMap::new();
    while let Some(line) = lines.next_significant() {
        let number = lines.next;
        let (key, rest) = split_key(line).ok_or(MappingError::Line(number))?;
        let value = parse_value(rest, &mut lines, number)?;
        if mapping.insert(key, value).is_some() {
            return Err(MappingError::Duplicate(number));
        }
        if mapping.len() > MAX_ENTRIES {
            return Err(MappingError::TooMany);
        }
    }
    Ok(mapping)
}

/// Writes a mapping that [`parse`] and YAML readers take as the same data.
pub(super) fn render(mapping: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in mapping {
        let key = scalar(key);
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Binary(bytes) if bytes.is_empty() => writeln!(text, "{key}: !!binary ''"),
            Value::Binary(bytes) => {
                let _ = writeln!(text, "{key}: !!binary |");
                for line in STANDARD.encode(bytes).as_bytes().chunks(BASE64_LINE) {
                    let _ = writeln!(text, "  {}", String::from_utf8_lossy(line));
                }
                Ok(())
            }
            Value::Text(value) => writeln!(text, "{key}: {}", scalar(value)),
            Value::Integer(value) => writeln!(text, "{key}: {value}"),
            Value::List(items) if items.is_empty() => writeln!(text, "{key}: []"),
            Value::List(items) => {
                let _ = writeln!(text, "{key}:");
                items.iter().try_for_each(|item| writeln!(text, "- {}", scalar(item)))
            }
        };
    }
    text
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    /// The next line that is neither blank nor a comment nor a document marker.
    fn next_significant(&mut self) -> Option<&'a str> {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            let trimmed = line.trim_end();
            if !(trimmed.is_empty() || trimmed.starts_with('#') || trimmed == "---" || trimmed == "...") {
                return Some(line);
            }
        }
        None
    }

    /// The following lines that are indented or blank: the rest of a scalar.
    fn take_indented(&mut self) -> Vec<&'a str> {
        let start = self.next;
        while self.lines.get(self.next).is_some_and(|line| line.is_empty() || line.starts_with([' ', '\t'])) {
            self.next += 1;
        }
        self.lines[start..self.next].to_vec()
    }

    /// The items of a block list; its dashes may be indented or not.
    fn take_items(&mut self) -> Result<Vec<String>, MappingError> {
        let mut items = Vec::new();
        while let Some(line) = self.lines.get(self.next) {
            let Some(item) = line.trim_start().strip_prefix("- ") else { break };
            self.next += 1;
            items.push(unquote(item.trim()).ok_or(MappingError::Line(self.next))?);
            if items.len() > MAX_ENTRIES {
                return Err(MappingError::TooMany);
            }
        }
        Ok(items)
    }
}

/// Splits a line of a block mapping into its key and the text after the colon.
fn split_key(line: &str) -> Option<(String, &str)> {
    let colon = match line.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = closing_quote(line, quote)?;
            line[end + 1..].starts_with(':').then_some(end + 1)?
        }
        ' ' | '\t' | '-' | '?' | '[' | '{' => return None,
        _ => line.find(": ").or_else(|| line.trim_end().strip_suffix(':').map(str::len))?,
    };
    Some((unquote(line[..colon].trim_end())?, line[colon + 1..].trim()))
}

/// Index of the quote that closes the quoted scalar a text starts with.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote == '"' {
            characters.next();
        } else if character == quote {
            if quote == '\'' && characters.peek().is_some_and(|(_, next)| *next == '\'') {
                characters.next();
            } else {
                return Some(at);
            }
        }
    }
    None
}

fn parse_value(rest: &str, lines: &mut Lines<'_>, number: usize) -> Result<Value, MappingError> {
    if let Some(rest) = rest.strip_prefix("!!binary") {
        return parse_binary(rest.trim(), lines, number);
    }
    if rest.is_empty() {
        return lines.take_items().map(Value::List);
    }
    if let Some(flow) = rest.strip_prefix('[') {
        let inner = flow.strip_suffix(']').ok_or(MappingError::Line(number))?.trim();
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items: Option<Vec<String>> = items.map(unquote).collect();
        return items.map(Value::List).ok_or(MappingError::Line(number));
    }
    let mut scalar = rest.to_owned();
    for line in lines.take_indented() {
        scalar.push(' ');
        scalar.push_str(line.trim());
    }
    let scalar = scalar.trim();
    if let Ok(integer) = scalar.parse::<i64>() {
        return Ok(Value::Integer(integer));
    }
    unquote(scalar).map(Value::Text).ok_or(MappingError::Line(number))
}

/// Reads base64 from a block scalar, whatever its line lengths, or from a quoted or plain scalar.
fn parse_binary(rest: &str, lines: &mut Lines<'_>, number: usize) -> Result<Value, MappingError> {
    let continuation = lines.take_indented();
    let mut base64: String = if rest.starts_with(['|', '>']) { String::new() } else { rest.to_owned() };
    base64.extend(continuation);
    base64.retain(|character| !(character.is_ascii_whitespace() || matches!(character, '"' | '\'')));
    STANDARD.decode(base64).map(Value::Binary).map_err(|_| MappingError::Base64(number))
}

/// The text of a plain, single-quoted or double-quoted scalar.
fn unquote(scalar: &str) -> Option<String> {
    match scalar.chars().next()? {
        quote @ ('"' | '\'') => {
            if closing_quote(scalar, quote)? + 1 != scalar.len() {
                return None;
            }
            let inner = &scalar[1..scalar.len() - 1];
            if quote == '\'' { Some(inner.replace("''", "'")) } else { unescape(inner) }
        }
        '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '{' | '[' => None,
        _ => Some(scalar.to_owned()),
    }
}

/// Resolves the escapes of a double-quoted scalar that YAML writers use for texts.
fn unescape(text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        let digits = match characters.next()? {
            'n' => {
                result.push('\n');
                continue;
            }
            't' => {
                result.push('\t');
                continue;
            }
            'r' => {
                result.push('\r');
                continue;
            }
            '0' => {
                result.push('\0');
                continue;
            }
            same @ ('"' | '\\' | '/' | ' ') => {
                result.push(same);
                continue;
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let code: String = characters.by_ref().take(digits).collect();
        if code.len() != digits {
            return None;
        }
        result.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
    }
    Some(result)
}

/// Writes a text plain if every YAML reader takes it as text, else in double quotes.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];
    let safe_start = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let safe_rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-+/=".contains(&byte));
    if safe_start && safe_rest && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(character));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_forms_yaml_writers_choose() {
        let text = "---\n# comment\nca: !!binary ''\n'1''2': !!binary |-\n    aGVs\n    bG8=\n\"a\\u00e4: b\": text\nn: 3\nempty: []\nflow: ['2', 3]\nlist:\n- '2'\n- \"3\"\nlast: 'x'\n";
        let mapping = parse(text).unwrap();
        assert_eq!(mapping["ca"], Value::Binary(Vec::new()));
        assert_eq!(mapping["1'2"], Value::Binary(b"hello".to_vec()));
        assert_eq!(mapping["a\u{e4}: b"], Value::Text("text".into()));
        assert_eq!(mapping["n"], Value::Integer(3));
        assert_eq!(mapping["empty"], Value::List(Vec::new()));
        assert_eq!(mapping["flow"], Value::List(vec!["2".into(), "3".into()]));
        assert_eq!(mapping["list"], Value::List(vec!["2".into(), "3".into()]));
        assert_eq!(mapping["last"], Value::Text("x".into()));
    }

    #[test]
    fn refuses_what_is_not_the_subset() {
        assert_eq!(parse("a: 1\na: 2\n"), Err(MappingError::Duplicate(2)));
        assert_eq!(parse("- a\n"), Err(MappingError::Line(1)));
        assert_eq!(parse("a: !!binary |\n  ***\n"), Err(MappingError::Base64(1)));
        assert_eq!(parse("a: *alias\n"), Err(MappingError::Line(1)));
        assert_eq!(parse("a: \"open\n"), Err(MappingError::Line(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_without_a_panic(text in "(?s).{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_back_what_it_wrote(
            keys in proptest::collection::btree_map(".{1,40}", proptest::collection::vec(any::<u8>(), 0..200), 0..5),
            items in proptest::collection::vec("[0-9]{1,20}", 0..4),
            text in ".{1,40}",
        ) {
            let mut mapping: BTreeMap<String, Value> =
                keys.into_iter().map(|(key, bytes)| (key, Value::Binary(bytes))).collect();
            mapping.insert("revoked_keys".into(), Value::List(items));
            mapping.insert("lastserial".into(), Value::Integer(7));
            mapping.insert("salt".into(), Value::Text(text));
            prop_assert_eq!(parse(&render(&mapping)).unwrap(), mapping);
        }
    }
}
