//! `keylime_ca`: manages the certificate authority that certificates for agents come from.

use std::process::ExitCode;

use keylime_settings::logging::{self, Program};
use keylime_tenant::argument_parser::{Stop, terminal_width};
use keylime_tenant::ca_cli::{self, CaError, PARSER};
use nix::sys::stat::{Mode, umask};
use tracing::error;

/// Exit code of a command line that cannot be understood.
const USAGE_ERROR: u8 = 2;
/// Exit code of a command that lacks an option.
const INCOMPLETE: u8 = 255;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments = ca_cli::with_named_command(arguments);
    let matches = match PARSER.parse(&arguments, terminal_width()) {
        Ok(matches) => matches,
        Err(Stop::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    umask(Mode::from_bits_truncate(0o077));
    logging::init(Program::Other("keylime_ca"));
    match ca_cli::run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(target: "keylime.ca-util", "{problem}");
            match problem {
                CaError::Usage(_) => {
                    print!("{}", PARSER.help(terminal_width()));
                    ExitCode::from(INCOMPLETE)
                }
                CaError::Settings(_) | CaError::Authority(_) | CaError::File(_) | CaError::Serve(_) => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}
