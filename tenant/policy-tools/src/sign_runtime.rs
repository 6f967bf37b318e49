//! `keylime-policy sign runtime` and the older `keylime_sign_runtime_policy` (`policy-tools.md` §2.3, §3).

use crate::environment::{Console, Environment, FileError, write_output};
use crate::error::ToolError;
use crate::key_files::json_text;
use crate::policy_signer::{Backend, PolicySigner, SignError};
use crate::signing_key::{SigningKey, SigningKeyError};
use keylime_arguments::Matches;
use keylime_engine::policy::schema_check::check_runtime_policy;
use serde_json::Value;
use std::io::ErrorKind;

/// Where `keylime-policy` writes a new key.
const NEW_KEY: &str = "keylime-ecdsa-key.pem";

/// Where the older tool writes a new key.
const LEGACY_NEW_KEY: &str = "keylime-ecdsa-key";

/// Runs `keylime-policy sign runtime`.
///
/// # Errors
/// See [`ToolError`].
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let given = |name: &str| matches.value(name).filter(|value| !value.is_empty());
    if given("keyfile").is_some() && given("keypath").is_some() {
        return Err(ToolError::refused("Only one of keyfile or keypath must be specified at once"));
    }
    let signer = match signer(given("keyfile"), given("keypath"), matches, environment) {
        Ok(signer) => signer,
        Err(problem) => {
            console.error(problem);
            return Err(ToolError::refused("Unable to obtain a valid signer from the input data"));
        }
    };
    let path = matches.value("policy").unwrap_or_default();
    let policy = valid_policy(environment, path)?;
    let envelope = signer.sign(json_text(&policy).as_bytes()).map_err(|error| {
        ToolError::refused(format!("Error while attempting to sign the runtime policy '{path}': {error}"))
    })?;
    let text = json_text(&envelope);
    match given("output_file").unwrap_or("/dev/stdout") {
        "/dev/stdout" => Ok(console.line(text)?),
        output => write_output(environment, console, output, text.as_bytes()).map_err(|error| {
            ToolError::refused(format!("Unable to write signed policy to destination file '{output}': {error}"))
        }),
    }
}

fn signer(
    key_file: Option<&str>,
    key_path: Option<&str>,
    matches: &Matches,
    environment: &Environment,
) -> Result<PolicySigner, ToolError> {
    let key = match key_file {
        Some(path) => {
            let pem = environment.read(path).map_err(|problem| match problem.error.kind() {
                ErrorKind::NotFound => ToolError::refused(format!("The specified key '{path}' does not exist")),
                _ => problem.into(),
            })?;
            Some(SigningKey::from_pem(&pem).map_err(ToolError::refused)?)
        }
        None => None,
    };
    let backend = match (matches.value("backend"), matches.value("cert_outfile").filter(|path| !path.is_empty())) {
        (Some("x509"), Some(path)) => Backend::X509(path),
        (Some("x509"), None) => {
            return Err(ToolError::refused("x509 backend and no cerficate output file specified"));
        }
        _ => Backend::Ecdsa,
    };
    PolicySigner::new(environment, key, key_path.unwrap_or(NEW_KEY), backend).map_err(ToolError::refused)
}

/// Reads a policy that satisfies the schema.
fn valid_policy(environment: &Environment, path: &str) -> Result<Value, ToolError> {
    let invalid = || {
        ToolError::refused(format!(
            "Unable to validate the runtime policy '{path}'; please make sure to provide a valid runtime policy"
        ))
    };
    let bytes = environment.read(path).map_err(|problem| match problem.error.kind() {
        ErrorKind::NotFound => {
            ToolError::refused(format!("The runtime policy file specified ({path}) does not seem to exist"))
        }
        _ => ToolError::refused(format!("Error while attempting to sign the runtime policy '{path}': {problem}")),
    })?;
    let policy: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    check_runtime_policy(&policy).map_err(|_| invalid())?;
    Ok(policy)
}

/// Runs `keylime_sign_runtime_policy`, which signs the bytes of a file whatever they are.
///
/// # Errors
/// See [`ToolError`].
pub fn run_legacy(matches: &Matches, environment: &Environment, _: &mut Console<'_>) -> Result<(), ToolError> {
    let given = |name: &str| matches.value(name).filter(|value| !value.is_empty());
    let Some(policy) = given("runtime_policy") else {
        return Err(ToolError::refused("Runtime policy is required!"));
    };
    let backend = match given("backend").unwrap_or("ecdsa") {
        "ecdsa" => Backend::Ecdsa,
        "x509" => Backend::X509(given("certificate_output_file").unwrap_or("certificate.crt")),
        _ => return Err(ToolError::refused("Unsupported DSSE backend!")),
    };
    if given("keyfile").is_some() && given("keypath").is_some() {
        return Err(ToolError::refused("Only one of -k and -p may be specified at once!"));
    }
    let Some(output) = given("output_file") else {
        return Err(ToolError::refused("An output file path (-o, --output_file) is required to write new policy!"));
    };
    let key = match given("keyfile") {
        Some(path) => Some(SigningKey::from_pem(&environment.read(path)?).map_err(|problem| match problem {
            SigningKeyError::NotElliptic => ToolError::refused("Only elliptic curve keys are supported!"),
            SigningKeyError::NotAKey | SigningKeyError::Refused(_) => ToolError::refused(problem),
        })?),
        None => None,
    };
    let new_key = given("keypath").unwrap_or(LEGACY_NEW_KEY);
    let payload = environment.read(policy)?;
    let sign = || -> Result<Value, SignError> { PolicySigner::new(environment, key, new_key, backend)?.sign(&payload) };
    let envelope = sign().map_err(ToolError::refused)?;
    let fail = |error| FileError { path: output.to_owned(), error };
    Ok(std::fs::write(environment.path(output), json_text(&envelope)).map_err(fail)?)
}
