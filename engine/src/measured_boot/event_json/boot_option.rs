//! The variables BootOrder and Boot#### (EFI_LOAD_OPTION, UEFI 2.10 §3.1.3).

use super::scalar::{self, Problem, unescape};
use crate::measured_boot::device_path;
use crate::measured_boot::little_endian::{Bytes, Truncated};
use serde_json::{Value, json};

/// The names of the options of BootOrder; `None` for an odd length.
pub fn order(content: &[u8]) -> Option<Value> {
    if !content.len().is_multiple_of(2) {
        return None;
    }
    let option = |unit: &[u8]| Value::String(format!("Boot{:04x}", u16::from_le_bytes([unit[0], unit[1]])));
    let options: Vec<Value> = content.chunks_exact(2).map(option).collect();
    Some(if options.is_empty() { Value::Null } else { Value::Array(options) })
}

/// Whether a name is `Boot` and four hexadecimal digits.
pub fn is_option_name(name: &str) -> bool {
    name.len() == 8 && starts_like_option(name)
}

/// Whether a name starts with `Boot` and four hexadecimal digits.
pub fn starts_like_option(name: &str) -> bool {
    let digits = name.strip_prefix("Boot").and_then(|rest| rest.as_bytes().get(..4));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// An option as the reference's parser prints it: the path is hexadecimal and includes the optional data.
pub fn printed(content: &[u8]) -> Result<Value, Problem> {
    let mut bytes = Bytes::new(content);
    let (enabled, path_length) = fixed_part(&mut bytes).map_err(|_| TOO_SMALL)?;
    let units = bytes.rest().chunks_exact(2);
    let end = units.clone().position(|unit| unit == [0, 0]).ok_or("is not terminated")?;
    let description = bytes.take(2 * end).map_err(|_| TOO_SMALL)?;
    let path = &bytes.rest()[2..];
    let description = scalar::double_quoted(scalar::utf16(description)?.as_bytes())?;
    Ok(json!({
        "Enabled": enabled,
        "FilePathListLength": path_length,
        "Description": unescape(description),
        "DevicePath": hex::encode(path),
    }))
}

/// An option under a longer name, as the reference's second pass writes it: the length is a text and the path is printed.
pub fn enriched(content: &[u8]) -> Result<Value, Problem> {
    let enabled = content.first().is_some_and(|byte| byte & 1 == 1);
    let path_length = content.get(4..).map_or(0, |rest| match rest {
        [] => 0,
        [low] => u16::from(*low),
        [low, high, ..] => u16::from_le_bytes([*low, *high]),
    });
    let mut rest = content.get(6..).unwrap_or_default();
    let mut description = String::new();
    while let Some((unit, after)) = rest.split_at_checked(2) {
        rest = after;
        match u16::from_le_bytes([unit[0], unit[1]]) {
            0 => break,
            // Each unit is decoded by itself: a byte order mark or half of a pair leaves nothing.
            0xFEFF => {}
            0xFFFE => {}
            unit => description.extend(char::from_u32(unit.into())),
        }
        if rest.len() == 1 {
            rest = &[];
        }
    }
    let path = device_path::text(rest, rest.len()).map_err(|_| "cannot be printed")?;
    Ok(json!({
        "Enabled": if enabled { "Yes" } else { "No" },
        "FilePathListLength": path_length.to_string(),
        "Description": unescape(description),
        "DevicePath": unescape(path),
    }))
}

const TOO_SMALL: Problem = "lies beyond the end of the variable";

fn fixed_part(bytes: &mut Bytes<'_>) -> Result<(&'static str, u16), Truncated> {
    let enabled = if bytes.u32()? & 1 == 1 { "Yes" } else { "No" };
    Ok((enabled, bytes.u16()?))
}
