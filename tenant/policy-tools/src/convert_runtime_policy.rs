//! `keylime_convert_runtime_policy`: policies of older formats in the current one (`runtime-policy.md` §8).

use crate::environment::{Console, Environment, FileError};
use crate::error::ToolError;
use crate::key_files::{self, json_text};
use crate::python_text::universal_newlines;
use keylime_arguments::Matches;
use keylime_engine::policy::conversion::{self, ConversionError, ConversionNotice, Converted};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the tool.
///
/// # Errors
/// See [`ToolError`].
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let given = |name: &str| matches.value(name).filter(|value| !value.is_empty());
    let (allowlist, existing) = (given("allowlist"), given("runtime_policy"));
    if allowlist.is_some() && existing.is_some() {
        return Err(ToolError::refused("Cannot provide both --allowlist and --runtime-policy!"));
    }
    if allowlist.is_none() && existing.is_none() {
        return Err(ToolError::refused("Either --allowlist or --runtime_policy is required!"));
    }
    let Some(output) = given("output_file") else {
        return Err(ToolError::refused("An output file path (-o, --output_file) is required to write new policy!"));
    };
    let path = allowlist.or(existing).unwrap_or_default();
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text_of_file = text(environment, path)?;
    let converted = if allowlist.is_some() {
        conversion::convert_allowlist(&text_of_file)
    } else {
        conversion::update_policy(document(path, &text_of_file)?)
    };
    let converted = converted.map_err(|error| ToolError::refused(refusal(&name, path, &error)))?;
    for notice in &converted.notices {
        match notice {
            ConversionNotice::JsonAllowlist | ConversionNotice::FlatAllowlist => {
                console.line(format_args!("{name} {notice}"))?;
            }
            ConversionNotice::SkippedLine { .. }
            | ConversionNotice::Default { .. }
            | ConversionNotice::Updated { .. } => console.line(notice)?,
        }
    }
    let mut policy = stamped(converted, &environment.timestamp());
    let files = matches.values("verification_keys");
    if let Some(path) = given("excludelist") {
        add_excludes(&mut policy, &text(environment, path)?)?;
    }
    let keyring = policy.get("verification-keys").and_then(Value::as_str).unwrap_or_default().to_owned();
    let added = key_files::add(environment, &keyring, files)?;
    for problem in added.problems {
        console.line(problem)?;
    }
    if let Some(keyring) = added.keyring {
        policy["verification-keys"] = json!(keyring);
    }
    let fail = |error| FileError { path: output.to_owned(), error };
    Ok(std::fs::write(environment.path(output), json_text(&policy)).map_err(fail)?)
}

fn text(environment: &Environment, path: &str) -> Result<String, FileError> {
    Ok(universal_newlines(&environment.read_text(path)?).into_owned())
}

/// What the tool says about a conversion that the engine refuses.
fn refusal(name: &str, path: &str, error: &ConversionError) -> String {
    match error {
        ConversionError::NoDigests | ConversionError::NotObject => {
            format!("{name} does not contain a valid digest list!")
        }
        ConversionError::AlreadyPolicy => {
            format!("{name} is a runtime policy already; give it with --runtime_policy")
        }
        ConversionError::NoVersion => format!("The policy in file {path} has no meta.version"),
        ConversionError::Keyring(_) | ConversionError::Key(_) => error.to_string(),
    }
}

/// The policy with the time of its conversion; one that was current already is not touched.
fn stamped(converted: Converted, timestamp: &str) -> Value {
    let mut policy = converted.policy;
    if !converted.notices.is_empty() {
        policy["meta"]["timestamp"] = json!(timestamp);
    }
    policy
}

/// Adds the patterns of an exclude list; here lines that begin with `#` are comments.
fn add_excludes(policy: &mut Value, text: &str) -> Result<(), ToolError> {
    if !policy.get("excludes").is_some_and(Value::is_array) {
        return Err(ToolError::refused("The policy has no list of excludes to add to"));
    }
    conversion::add_excludes(policy, text);
    Ok(())
}

fn document(path: &str, text: &str) -> Result<Value, ToolError> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| ToolError::refused(format!("{path} is not JSON: {error}")))?;
    if document.is_object() {
        return Ok(document);
    }
    Err(ToolError::refused(format!("The policy in file {path} must be a dictionary")))
}
