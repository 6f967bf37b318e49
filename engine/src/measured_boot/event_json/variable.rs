//! Events about UEFI variables (UEFI_VARIABLE_DATA).

use super::boot_option;
use super::scalar::{self, Problem, unescape};
use super::signature_list;
use crate::measured_boot::event_log::{Event, LogProblem};
use crate::measured_boot::event_type::EventType;
use crate::measured_boot::little_endian::{Bytes, Truncated};
use serde_json::{Map, Value, json};

/// A variable event, taken apart.
struct Variable<'e> {
    /// The name up to its first NUL.
    name: String,
    /// The variable's content.
    content: &'e [u8],
    /// Everything after the name, which may be more than the content.
    rest: &'e [u8],
}

/// The `Event` member.
pub fn render(event: &Event<'_>) -> Result<Value, LogProblem> {
    let truncated = |_: Truncated| body(event, "the data is too small for the variable it describes");
    let mut bytes = Bytes::new(event.data);
    let guid = bytes.guid().map_err(truncated)?;
    let name_length = bytes.u64().map_err(truncated)?;
    let content_length = bytes.u64().map_err(truncated)?;
    let size = |length: u64, unit: usize| usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(unit);
    let name = bytes.take(size(name_length, 2)).map_err(truncated)?;
    let rest = bytes.rest();
    let content = bytes.take(size(content_length, 1)).map_err(truncated)?;
    let text_problem = |problem: Problem| text(event, "UnicodeName", problem);
    let mut name = scalar::utf16(name).map_err(|_| body(event, "the variable's name is not UTF-16"))?;
    if let Some(end) = name.find('\0') {
        name.truncate(end);
    }
    let unicode_name = match scalar::plain(name.as_bytes()).map_err(text_problem)? {
        Value::String(name) => Value::String(unescape(name)),
        other => other,
    };
    let variable = Variable { name, content, rest };
    let data = data(event, &variable, unicode_name.is_string())?;
    let mut out = Map::with_capacity(5);
    out.insert("VariableName".to_owned(), Value::String(guid.to_string()));
    out.insert("UnicodeNameLength".to_owned(), json!(name_length));
    out.insert("VariableDataLength".to_owned(), json!(content_length));
    out.insert("UnicodeName".to_owned(), unicode_name);
    if let Some(data) = data {
        out.insert("VariableData".to_owned(), data);
    }
    Ok(Value::Object(out))
}

/// The `VariableData` member; absent for an empty variable without structure.
fn data(event: &Event<'_>, variable: &Variable<'_>, name_is_text: bool) -> Result<Option<Value>, LogProblem> {
    let content = variable.content;
    let structured = match (event.event_type, variable.name.as_str()) {
        (EventType::VARIABLE_DRIVER_CONFIG, "PK" | "KEK" | "db" | "dbx") => signature_list::lists(variable.rest),
        (EventType::VARIABLE_DRIVER_CONFIG, "SecureBoot") | (EventType::VARIABLE_AUTHORITY, "MokListTrusted") => {
            enabled(content).ok_or_else(|| body(event, "a switch has more than one byte"))?
        }
        (EventType::VARIABLE_AUTHORITY, "db" | "Shim" | "vendor_db") => {
            signature_list::signature(content).map_err(|_| body(event, "the signature is too small"))?
        }
        (EventType::VARIABLE_AUTHORITY, "SbatLevel") => {
            let level = scalar::escaped_text(content).map_err(|problem| text(event, "String", problem))?;
            json!({ "String": unescape(level) })
        }
        (EventType::VARIABLE_BOOT | EventType::VARIABLE_BOOT2, "BootOrder") => {
            boot_option::order(content).ok_or_else(|| body(event, "BootOrder has an odd length"))?
        }
        (EventType::VARIABLE_BOOT | EventType::VARIABLE_BOOT2, name) if boot_option::is_option_name(name) => {
            boot_option::printed(content).map_err(|problem| text(event, "Description", problem))?
        }
        (EventType::VARIABLE_BOOT, _) if content.is_empty() => return Ok(None),
        (EventType::VARIABLE_BOOT, _) if !name_is_text => {
            return Err(text(event, "UnicodeName", "is read as a number or another value that is no text"));
        }
        (EventType::VARIABLE_BOOT, name) if boot_option::starts_like_option(name) => {
            boot_option::enriched(content).map_err(|problem| text(event, "DevicePath", problem))?
        }
        _ if content.is_empty() => return Ok(None),
        _ => Value::String(hex::encode(content)),
    };
    Ok(Some(structured))
}

/// A boolean variable; `None` when it has more than one byte.
fn enabled(content: &[u8]) -> Option<Value> {
    let enabled = match content {
        [] | [0] => "No",
        [_] => "Yes",
        _ => return None,
    };
    Some(json!({ "Enabled": enabled }))
}

fn body(event: &Event<'_>, problem: &'static str) -> LogProblem {
    LogProblem::Body { event_type: event.event_type, problem }
}

fn text(event: &Event<'_>, field: &'static str, problem: Problem) -> LogProblem {
    LogProblem::Text { event_type: event.event_type, field, problem }
}
