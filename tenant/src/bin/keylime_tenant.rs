//! `keylime_tenant`: enrols agents at a verifier and manages what verifier and registrar know about them.

use std::process::ExitCode;

use keylime_settings::logging::{self, Program};
use keylime_tenant::argument_parser::{Stop, terminal_width};
use keylime_tenant::cli::Options;
use keylime_tenant::session::Session;
use keylime_tenant::{command, enrollment_actor};
use tracing::error;

/// Exit code of a command line that cannot be understood.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let options = match Options::parse(&arguments, terminal_width()) {
        Ok(options) => options,
        Err(Stop::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    keylime_pki::install_crypto_provider();
    logging::init(Program::Tenant);
    let result = enrollment_actor::run(async { command::run(Session::open(options)?).await });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(target: "keylime.tenant", "{problem}");
            ExitCode::FAILURE
        }
    }
}
