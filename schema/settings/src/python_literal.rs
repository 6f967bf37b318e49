//! The literals that Keylime's list options are written in: Python's lists, tuples, dicts, strings, numbers, `True`,
//! `False` and `None`, as `ast.literal_eval` takes them.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 64;

/// A literal: JSON's types plus the tuple.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A value with a JSON counterpart.
    Value(Value),
    /// A tuple, which Keylime does not take for a list.
    Tuple(Vec<Value>),
}

/// Why a text is not a literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a literal at character {position}: {problem}")]
pub struct LiteralError {
    /// 0-based character position.
    pub position: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Reads one literal that spans the whole text.
///
/// # Errors
/// The first place that is not literal syntax.
pub fn parse(text: &str) -> Result<Literal, LiteralError> {
    let mut parser = Parser { chars: text.trim().chars().collect(), at: 0 };
    let literal = parser.literal(0)?;
    parser.space();
    if parser.at < parser.chars.len() {
        return Err(parser.error("text after the literal"));
    }
    Ok(literal)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn error(&self, problem: &'static str) -> LiteralError {
        LiteralError { position: self.at, problem }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Skips white space and, inside brackets, comments to the end of the line.
    fn space(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if c.is_whitespace() {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some('[') => self.sequence(']', depth).map(|(items, _)| Literal::Value(Value::Array(items))),
            Some('(') => {
                let (mut items, comma) = self.sequence(')', depth)?;
                match (items.len(), comma) {
                    (1, false) => Ok(Literal::Value(items.remove(0))),
                    (_, true | false) => Ok(Literal::Tuple(items)),
                }
            }
            Some('{') => self.dict(depth).map(Literal::Value),
            Some('\'' | '"') => self.strings().map(|s| Literal::Value(Value::String(s))),
            Some('-' | '+' | '.' | '0'..='9') => self.number().map(Literal::Value),
            Some('r' | 'b' | 'u') if matches!(self.chars.get(self.at + 1), Some('\'' | '"')) => {
                self.strings().map(|s| Literal::Value(Value::String(s)))
            }
            Some(c) if c.is_alphabetic() => self.word().map(Literal::Value),
            Some(_) => Err(self.error("unexpected character")),
            None => Err(self.error("unexpected end")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, LiteralError> {
        Ok(match self.literal(depth)? {
            Literal::Value(value) => value,
            Literal::Tuple(items) => Value::Array(items),
        })
    }

    /// Items up to `close`, and whether a comma followed the last one.
    fn sequence(&mut self, close: char, depth: usize) -> Result<(Vec<Value>, bool), LiteralError> {
        self.at += 1;
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            self.space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return Err(self.error("missing comma"));
            }
            items.push(self.value(depth + 1)?);
            comma = self.comma();
        }
    }

    fn comma(&mut self) -> bool {
        self.space();
        let found = self.peek() == Some(',');
        self.at += usize::from(found);
        found
    }

    fn dict(&mut self, depth: usize) -> Result<Value, LiteralError> {
        self.at += 1;
        let mut map = Map::new();
        let mut comma = true;
        loop {
            self.space();
            if self.peek() == Some('}') {
                self.at += 1;
                return Ok(Value::Object(map));
            }
            if !comma {
                return Err(self.error("missing comma"));
            }
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            self.space();
            if self.peek() != Some(':') {
                return Err(self.error("missing colon"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            comma = self.comma();
        }
    }

    /// One or more adjacent string literals, which Python joins.
    fn strings(&mut self) -> Result<String, LiteralError> {
        let mut text = String::new();
        loop {
            let raw = match self.peek() {
                Some('r') => true,
                Some('u') => false,
                Some('b') => return Err(self.error("bytes are not supported")),
                Some(_) | None => {
                    self.string(false, &mut text)?;
                    if self.another_string() {
                        continue;
                    }
                    return Ok(text);
                }
            };
            self.at += 1;
            self.string(raw, &mut text)?;
            if !self.another_string() {
                return Ok(text);
            }
        }
    }

    fn another_string(&mut self) -> bool {
        let here = self.at;
        self.space();
        let prefixed =
            matches!(self.peek(), Some('r' | 'u')) && matches!(self.chars.get(self.at + 1), Some('\'' | '"'));
        if matches!(self.peek(), Some('\'' | '"')) || prefixed {
            return true;
        }
        self.at = here;
        false
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Result<(), LiteralError> {
        let quote = self.peek().ok_or_else(|| self.error("unexpected end"))?;
        let triple = self.chars[self.at..].starts_with(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        loop {
            let Some(c) = self.peek() else { return Err(self.error("unterminated string")) };
            if c == quote && (!triple || self.chars[self.at..].starts_with(&[quote; 3])) {
                self.at += if triple { 3 } else { 1 };
                return Ok(());
            }
            self.at += 1;
            match c {
                '\n' if !triple => return Err(self.error("line break in a string")),
                '\\' if raw => {
                    text.push('\\');
                    if let Some(next) = self.peek() {
                        self.at += 1;
                        text.push(next);
                    }
                }
                '\\' => self.escape(text)?,
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), LiteralError> {
        let Some(c) = self.peek() else { return Err(self.error("unterminated string")) };
        self.at += 1;
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(c),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\u{b}'),
            'x' => self.code_point(2, text)?,
            'u' => self.code_point(4, text)?,
            'U' => self.code_point(8, text)?,
            '0'..='7' => {
                let mut value = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.at += 1;
                }
                text.push(char::from_u32(value).ok_or_else(|| self.error("bad escape"))?);
            }
            other => {
                // Python keeps the backslash of an escape that it does not know.
                text.push('\\');
                text.push(other);
            }
        }
        Ok(())
    }

    fn code_point(&mut self, digits: usize, text: &mut String) -> Result<(), LiteralError> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|c| c.to_digit(16)).ok_or_else(|| self.error("bad escape"))?;
            value = value * 16 + digit;
            self.at += 1;
        }
        text.push(char::from_u32(value).ok_or_else(|| self.error("bad escape"))?);
        Ok(())
    }

    fn number(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')) {
            self.at += 1;
        }
        let text: String = self.chars[start..self.at].iter().filter(|c| **c != '_').collect();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(&text)),
        };
        // One sign is what Python's literals may have; a second would also overflow the smallest number.
        if digits.starts_with(['-', '+']) {
            return Err(self.error("not a number"));
        }
        let radix = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, radix)| {
            digits.to_ascii_lowercase().strip_prefix(prefix).map(|d| (d.to_owned(), radix))
        });
        let integer = match radix {
            Some((digits, radix)) => i64::from_str_radix(&digits, radix).ok(),
            None => digits.parse().ok(),
        };
        if let Some(n) = integer {
            return Ok(Value::Number(Number::from(if negative { -n } else { n })));
        }
        text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number).ok_or_else(|| self.error("not a number"))
    }

    fn word(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        match word.as_str() {
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::Null),
            _ => Err(self.error("a bare word")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_python_reads() {
        let cases = [
            (r#"['a', "b ", 1, True, None, {"x": 1},]"#, json!(["a", "b ", 1, true, null, {"x": 1}])),
            ("[]", json!([])),
            ("[ 'a' 'b' ]", json!(["ab"])),
            (r"['\x41\u0042\n\q', r'\n']", json!(["AB\n\\q", "\\n"])),
            ("[0x10, -1, 1.5, 1_000]", json!([16, -1, 1.5, 1000])),
            ("[('a', 'b')]", json!([["a", "b"]])),
            ("('a')", json!("a")),
            (
                "[{'event_id': '.*', 'severity_label': 'emergency'}]",
                json!([{"event_id": ".*", "severity_label": "emergency"}]),
            ),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), Ok(Literal::Value(value)), "{text}");
        }
        assert_eq!(parse("('a','b')"), Ok(Literal::Tuple(vec![json!("a"), json!("b")])));
    }

    #[test]
    fn refuses_the_rest_without_a_panic() {
        let deep = "[".repeat(1000);
        for text in ["", "a, b", "['a'", "['a' 1]", "[1] 2", "'a", "{1}", "[1,,2]", "f()", "b'x'", deep.as_str()] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_back_lists_of_strings(items in proptest::collection::vec("[^\\\\'\\n]{0,10}", 0..5)) {
            let text = format!("[{}]", items.iter().map(|i| format!("'{i}'")).collect::<Vec<_>>().join(", "));
            proptest::prop_assert_eq!(parse(&text), Ok(Literal::Value(json!(items))));
        }
    }
}
