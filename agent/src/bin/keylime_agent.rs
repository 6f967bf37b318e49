//! The pull agent's program: configuration, logging, then [`keylime_agent::pull::run`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use keylime_agent::configuration::{AgentSettings, Environment};
use keylime_agent::pull::{self, DaemonError};
use keylime_settings::logging::{self, Program};

/// Keylime agent: answers the verifier's requests for TPM quotes.
///
/// Everything is configured in agent.conf and by KEYLIME_AGENT_<OPTION> variables; RUST_LOG sets the log level and TCTI the
/// way to the TPM.
#[derive(Parser)]
#[command(name = "keylime_agent", version)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    logging::init(Program::Agent);
    keylime_pki::install_crypto_provider();
    let result = AgentSettings::load(&Environment::of_process()).map_err(DaemonError::from).and_then(pull::run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "keylime.agent", "{error}");
            ExitCode::FAILURE
        }
    }
}
