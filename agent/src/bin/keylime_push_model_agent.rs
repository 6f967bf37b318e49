//! The push agent's program: command line over configuration, logging, then [`keylime_agent::push::run`].

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use keylime_agent::configuration::push_settings::VerifierTrust;
use keylime_agent::configuration::{Environment, Layers, PushSettings};
use keylime_agent::push::{self, PushError, PushOptions, TpmChoice};
use keylime_settings::logging::{self, Program};

/// Keylime push agent: attests this machine to a verifier it calls itself; opens no port.
///
/// Options given here win over agent.conf and the KEYLIME_AGENT_<OPTION> variables. RUST_LOG sets the log level and TCTI the
/// way to the TPM.
#[derive(Parser)]
#[command(name = "keylime_push_model_agent", version)]
struct Arguments {
    /// Agent id, or what the option uuid may say [default: the option uuid].
    #[arg(long, value_name = "ID")]
    agent_identifier: Option<String>,
    /// API version spoken with the verifier.
    #[arg(long, value_name = "VERSION", default_value = "v3.0")]
    api_version: String,
    /// Authority of the verifier's certificate [default: the option verifier_tls_ca_cert].
    #[arg(long, value_name = "PATH")]
    ca_certificate: Option<PathBuf>,
    /// URL of the verifier, https only [default: the option verifier_url].
    #[arg(short, long, value_name = "URL")]
    verifier_url: Option<String>,
    /// URL of the registrar [default: the options registrar_ip and registrar_port].
    #[arg(long, value_name = "URL")]
    registrar_url: Option<String>,
    /// Seconds between attestations where the verifier does not say [default: the option attestation_interval_seconds].
    #[arg(long, value_name = "SECONDS")]
    attestation_interval_seconds: Option<u64>,
    /// Limit for a request, in milliseconds; large evidence gets more.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000)]
    timeout: u64,
    /// Accept any certificate of the verifier; for tests only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    insecure: Option<bool>,
    /// Use keys in a file instead of a TPM; for tests only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    avoid_tpm: Option<bool>,
    /// Taken and without effect, as the five that follow: what they once sent is made by the agent itself.
    #[arg(short, long, value_name = "FILE")]
    json_file: Option<String>,
    /// Without effect.
    #[arg(long, value_name = "INDEX")]
    attestation_index: Option<String>,
    /// Without effect.
    #[arg(long, value_name = "INDEX")]
    session_index: Option<String>,
    /// Without effect.
    #[arg(long, value_name = "TYPE")]
    message_type: Option<String>,
    /// Without effect.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
}

fn main() -> ExitCode {
    let (arguments, ignored) = parse_leniently(std::env::args().collect());
    logging::init(Program::Agent);
    keylime_pki::install_crypto_provider();
    for problem in ignored {
        tracing::warn!(target: "keylime.agent", "ignoring a part of the command line: {problem}");
    }
    warn_of_no_effect(&arguments);
    let result = options(arguments).and_then(push::run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "keylime.agent", "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes what is understood; the rest is ignored, as the reference does, but told, which it does not. Help, version and a
/// mistake that cannot be taken out end the program.
fn parse_leniently(mut words: Vec<String>) -> (Arguments, Vec<String>) {
    let mut ignored = Vec::new();
    loop {
        let error = match Arguments::try_parse_from(&words) {
            Ok(arguments) => return (arguments, ignored),
            Err(error) => error,
        };
        if !error.use_stderr() || !take_out(&mut words, &error) {
            error.exit();
        }
        let text = error.to_string();
        ignored.push(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned());
    }
}

/// Takes the word an error is about out of the command line, with its value if the value is the mistake.
fn take_out(words: &mut Vec<String>, error: &clap::Error) -> bool {
    let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    // Options with a value are called `--timeout <MILLISECONDS>`.
    let name = about.split([' ', '=']).next().unwrap_or_default();
    let is_about = |word: &String| word == name || word.split('=').next() == Some(name);
    let Some(place) = words.iter().skip(1).position(is_about).map(|place| place + 1) else {
        return false;
    };
    let word = words.remove(place);
    if error.get(ContextKind::InvalidValue).is_some() && !word.contains('=') && place < words.len() {
        words.remove(place);
    }
    true
}

fn warn_of_no_effect(arguments: &Arguments) {
    let without_effect = [
        ("--json-file", &arguments.json_file),
        ("--attestation-index", &arguments.attestation_index),
        ("--session-index", &arguments.session_index),
        ("--message-type", &arguments.message_type),
        ("--method", &arguments.method),
    ];
    for (name, _) in without_effect.iter().filter(|(_, value)| value.is_some()) {
        tracing::warn!(target: "keylime.agent", "{name} has no effect");
    }
}

fn options(arguments: Arguments) -> Result<PushOptions, PushError> {
    let mut settings = PushSettings::from_layers(&Layers::load(&Environment::of_process())?)?;
    if let Some(path) = arguments.ca_certificate {
        settings.verifier_ca = settings.agent.keylime_dir.join(path);
    }
    if let Some(url) = arguments.verifier_url {
        settings.verifier_url = url;
    }
    if let Some(seconds) = arguments.attestation_interval_seconds {
        settings.interval = Duration::from_secs(seconds);
    }
    if arguments.insecure == Some(true) {
        settings.verifier_trust = VerifierTrust::Nothing;
    }
    let version = arguments.api_version.trim_start_matches('v');
    Ok(PushOptions {
        settings,
        api_version: format!("v{version}"),
        timeout: Duration::from_millis(arguments.timeout.max(100)),
        agent_identifier: arguments.agent_identifier,
        registrar_url: arguments.registrar_url,
        tpm: if arguments.avoid_tpm == Some(true) { TpmChoice::Software } else { TpmChoice::Device },
    })
}
