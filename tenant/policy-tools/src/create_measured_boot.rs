//! `keylime-policy create measured-boot` and `create_mb_refstate` (`policy-tools.md` §2.2, §4).

use crate::environment::{Console, Environment, write_output};
use crate::error::ToolError;
use keylime_arguments::Matches;
use keylime_engine::measured_boot::reference_state::{
    Flavour, Options, ReferenceStateError, ReferenceStateOutcome, SecureBootRule, create,
};

/// Runs `keylime-policy create measured-boot`.
///
/// # Errors
/// See [`ToolError`].
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let path = matches.value("eventlog_file").unwrap_or_default();
    let outcome = reference_state(path, Flavour::KeylimePolicy, matches, environment, console)?;
    let output = match matches.value("output") {
        None | Some("-") => "/dev/stdout",
        Some(path) => path,
    };
    Ok(write_output(environment, console, output, outcome.to_python_json().as_bytes())?)
}

/// Runs `create_mb_refstate`.
///
/// # Errors
/// See [`ToolError`].
pub fn run_script(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let path = matches.value("eventlog_file").unwrap_or_default();
    let outcome = reference_state(path, Flavour::CreateMbRefstate, matches, environment, console)?;
    let output = matches.value("mb_refstate").unwrap_or_default();
    Ok(write_output(environment, console, output, outcome.to_python_json().as_bytes())?)
}

fn reference_state(
    path: &str,
    flavour: Flavour,
    matches: &Matches,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<ReferenceStateOutcome, ToolError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        ToolError::refused(format!("Parsing of binary boot measurements ({path}) failed with: {reason}"))
    };
    let log = environment.read(path).map_err(|error| unreadable(&error))?;
    let secure_boot =
        if matches.is_present("without_secureboot") { SecureBootRule::MayBeOff } else { SecureBootRule::Required };
    let outcome = create(&log, Options { flavour, secure_boot }).map_err(|error| match error {
        ReferenceStateError::Log(reason) => unreadable(&reason),
        ReferenceStateError::SecureBootDisabled
        | ReferenceStateError::SecureBootUnknown
        | ReferenceStateError::ApplicationCount { .. }
        | ReferenceStateError::Lacking { .. } => ToolError::refused(error),
    })?;
    for warning in &outcome.warnings {
        console.warning(warning);
    }
    Ok(outcome)
}
