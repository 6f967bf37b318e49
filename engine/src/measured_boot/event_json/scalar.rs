//! What becomes of a text on its way through YAML.
//!
//! The reference's policies see the log after one program printed it as YAML 1.1 and another read it back, so a variable named
//! `on` is a boolean to them and a signature of digits only is a number (`measured-boot.md` §3 to §5). Policies that hold
//! for the reference must hold here, so the same texts change in the same way, without any YAML in between.

use serde_json::{Number, Value};

/// Why a text cannot be carried.
pub type Problem = &'static str;

/// The text is no UTF-8.
pub const NOT_UTF8: Problem = "is not UTF-8";
/// A character YAML forbids.
const NOT_PRINTABLE: Problem = "holds a control character";
/// A text YAML reads as syntax.
const SYNTAX: Problem = "is read as YAML syntax, not as a text";

/// The text of bytes, if YAML may carry each of its characters.
///
/// # Errors
/// It is no UTF-8, or holds a character that YAML forbids.
pub fn printable(bytes: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
    let plain_ascii = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    if text.bytes().all(plain_ascii) || text.chars().all(is_printable) { Ok(text) } else { Err(NOT_PRINTABLE) }
}

/// YAML 1.1 §5.1, without the byte order mark, as its readers have it.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

/// A text printed without quotes.
///
/// # Errors
/// It cannot be read back as one value.
pub fn plain(bytes: &[u8]) -> Result<Value, Problem> {
    let text = printable(bytes)?.trim_matches([' ', '\t']);
    if text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Err(SYNTAX);
    }
    let text = text.find(" #").map_or(text, |comment| text[..comment].trim_end());
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (None | Some('#'), _) => return Ok(Value::Null),
        (Some(',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'), _)
        | (Some('-' | '?' | ':'), None | Some(' ')) => return Err(SYNTAX),
        (Some(_), _) => {}
    }
    if text.contains(": ") || text.ends_with(':') {
        return Err(SYNTAX);
    }
    resolve(text)
}

/// The type of a text without quotes (YAML 1.1 types, as PyYAML resolves them).
fn resolve(text: &str) -> Result<Value, Problem> {
    match text {
        "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(Value::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Ok(Value::Bool(false)),
        "=" | "<<" => return Err(SYNTAX),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(Value::String(text.to_owned()));
    }
    if is_timestamp(text) {
        return Err("is read as a date, not as a text");
    }
    Ok(integer(text).or_else(|| float(text)).unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Hexadecimal digits printed without quotes: a number when they look like one.
pub fn hex_digits(bytes: &[u8]) -> Value {
    let text = hex::encode(bytes);
    let looks_like_number = text.bytes().all(|digit| digit.is_ascii_digit()) || text.starts_with("0b");
    match looks_like_number.then(|| integer(&text)).flatten() {
        Some(number) => number,
        None if text.is_empty() => Value::Null,
        None => Value::String(text),
    }
}

/// An integer in one of YAML 1.1's notations.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let all = |digits: &str, allowed: fn(u8) -> bool| {
        !digits.is_empty() && digits.bytes().all(|digit| digit == b'_' || allowed(digit))
    };
    if let Some(binary) = digits.strip_prefix("0b").filter(|d| all(d, |d| matches!(d, b'0' | b'1'))) {
        return number(binary, 2, negative);
    }
    if let Some(hexadecimal) = digits.strip_prefix("0x").filter(|d| all(d, |d| d.is_ascii_hexdigit())) {
        return number(hexadecimal, 16, negative);
    }
    if digits == "0" {
        return Some(Value::from(0));
    }
    if let Some(octal) = digits.strip_prefix('0') {
        return if all(octal, |d| matches!(d, b'0'..=b'7')) { number(octal, 8, negative) } else { None };
    }
    if !digits.starts_with(|c: char| matches!(c, '1'..='9')) {
        return None;
    }
    let mut places = digits.split(':');
    let first = places.next().filter(|d| all(d, |d| d.is_ascii_digit()))?;
    let minutes = |place: &str| match place.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    };
    let places: Vec<&str> = places.collect();
    if places.is_empty() {
        return number(first, 10, negative);
    }
    if !places.iter().all(|place| minutes(place)) {
        return None;
    }
    let value = |digits: &str| digits.replace('_', "").parse::<f64>().ok();
    let mut sum = value(first)?;
    for place in places {
        sum = sum * 60.0 + value(place)?;
    }
    whole(if negative { -sum } else { sum })
}

/// Digits of a radix as a number; one that needs more than 64 bits becomes the nearest floating-point number, which is all
/// that a policy needs to find that it is no text.
fn number(digits: &str, radix: u32, negative: bool) -> Option<Value> {
    let mut exact: Option<i128> = Some(0);
    let mut nearest = 0.0_f64;
    for digit in digits.chars().filter(|digit| *digit != '_') {
        let digit = digit.to_digit(radix)?;
        exact = exact.and_then(|value| value.checked_mul(radix.into())?.checked_add(digit.into()));
        nearest = nearest.mul_add(f64::from(radix), f64::from(digit));
    }
    let exact = exact.map(|value| if negative { -value } else { value });
    if let Some(value) = exact.and_then(|value| i64::try_from(value).ok()) {
        return Some(Value::from(value));
    }
    if let Some(value) = exact.and_then(|value| u64::try_from(value).ok()) {
        return Some(Value::from(value));
    }
    if radix == 10 {
        // Correctly rounded, unlike the running sum.
        nearest = digits.replace('_', "").parse().ok()?;
    }
    Number::from_f64(if negative { -nearest } else { nearest }).map(Value::Number)
}

#[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
fn whole(value: f64) -> Option<Value> {
    if value.abs() < 9e15 { Some(Value::from(value as i64)) } else { Number::from_f64(value).map(Value::Number) }
}

/// A number with a decimal point. Infinite and undefined ones have no JSON and become null, which is no text either.
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Value::Null);
    }
    let (whole, fraction) = unsigned.split_once('.')?;
    let is_digits = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit() || digit == b'_');
    let mantissa = fraction.split(['e', 'E']).next().unwrap_or_default();
    let starts = |digits: &str| digits.starts_with(|c: char| c.is_ascii_digit());
    if !is_digits(whole) || !is_digits(mantissa) || !(starts(whole) || (whole.is_empty() && starts(mantissa))) {
        return None;
    }
    if let Some(exponent) = fraction.get(mantissa.len() + 1..) {
        let digits = exponent.strip_prefix(['-', '+'])?;
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
    }
    let value: f64 = text.replace('_', "").parse().ok()?;
    Some(Number::from_f64(value).map_or(Value::Null, Value::Number))
}

/// `2001-12-14`, with or without a time.
fn is_timestamp(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut digits = |range: std::ops::RangeInclusive<usize>| {
        let part = parts.next().unwrap_or_default();
        let count = part.bytes().take_while(u8::is_ascii_digit).count();
        range.contains(&count).then(|| part[count..].to_owned())
    };
    let (Some(year), Some(month), Some(day)) = (digits(4..=4), digits(1..=2), digits(1..=2)) else { return false };
    year.is_empty() && month.is_empty() && (day.is_empty() || day.starts_with(['T', 't', ' ', '\t']))
}

/// A text printed between double quotes without escaping anything.
///
/// # Errors
/// It cannot be read back.
pub fn double_quoted(bytes: &[u8]) -> Result<String, Problem> {
    let text = printable(bytes)?;
    if text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Err("holds a line break");
    }
    if !text.contains(['"', '\\']) {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return Err("holds a double quote"),
            '\\' => out.push(escaped(&mut characters).ok_or("holds a backslash that escapes nothing")?),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// The character an escape sequence stands for (YAML 1.1 §5.6).
fn escaped(characters: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match characters.next()? {
        'x' => coded(characters, 2)?,
        'u' => coded(characters, 4)?,
        'U' => coded(characters, 8)?,
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' | '\t' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        same @ (' ' | '"' | '\\' | '/') => same,
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        _ => return None,
    })
}

fn coded(characters: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let mut value = 0;
    for _ in 0..digits {
        value = value * 16 + characters.next()?.to_digit(16)?;
    }
    char::from_u32(value)
}

/// A text printed as a block literal under a key, cut at its first NUL.
///
/// # Errors
/// It cannot be read back.
pub fn block_literal(bytes: &[u8]) -> Result<String, Problem> {
    let text = printable(until_nul(bytes))?.trim_end_matches(['\n', '\r']);
    if text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Err("holds a line break");
    }
    // The indentation of a block is that of its first line.
    Ok(text.trim_start_matches(' ').to_owned())
}

/// A text printed with every special character escaped: it comes back as it was, but for line breaks that have no escape.
///
/// # Errors
/// It is no UTF-8, or holds a character without escape that YAML forbids.
pub fn escaped_text(bytes: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
    let has_escape = |c: char| matches!(c, '\0' | '\u{7}' | '\u{8}' | '\u{b}' | '\u{c}' | '\u{1b}');
    if !text.chars().all(|c| has_escape(c) || is_printable(c)) {
        return Err(NOT_PRINTABLE);
    }
    Ok(text.replace('\u{85}', " "))
}

/// The reference takes escape sequences back a second time, in this order, in every text of the log; then it drops one
/// trailing NUL.
pub fn unescape(text: String) -> String {
    const SEQUENCES: [(&str, &str); 10] = [
        ("\\0", "\0"),
        ("\\a", "\u{7}"),
        ("\\b", "\u{8}"),
        ("\\t", "\t"),
        ("\\v", "\u{b}"),
        ("\\f", "\u{c}"),
        ("\\r", "\r"),
        ("\\e", "\u{1b}"),
        ("\\'", "'"),
        ("\\\\", "\\"),
    ];
    let mut text = text;
    if memchr::memchr(b'\\', text.as_bytes()).is_some() {
        for (sequence, character) in SEQUENCES {
            if text.contains(sequence) {
                text = text.replace(sequence, character);
            }
        }
    }
    if text.ends_with('\0') {
        text.pop();
    }
    text
}

/// The bytes before the first NUL.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// UTF-16 with its units in little-endian order; an unpaired surrogate is an error.
///
/// # Errors
/// The text is no UTF-16.
pub fn utf16(bytes: &[u8]) -> Result<String, Problem> {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| "is not UTF-16")
}
