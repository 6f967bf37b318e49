//! The options of the server binaries. Everything else is configuration.

use crate::configuration::print_effective;
use clap::{CommandFactory as _, FromArgMatches as _};
use keylime_settings::{Component, Config};
use std::process::ExitCode;

const HELP: &str = "Configuration is read from /etc/keylime (or /usr/etc/keylime), or from the file named by \
                    KEYLIME_VERIFIER_CONFIG or KEYLIME_REGISTRAR_CONFIG. Every option can be set by a variable \
                    KEYLIME_<COMPONENT>_<OPTION>. Files are kept in KEYLIME_DIR, /var/lib/keylime by default.";

#[derive(clap::Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    /// Prints the configuration in effect, without secrets, and ends
    #[arg(long)]
    print_config: bool,
}

/// What the command line asks for.
pub struct CommandLine;

/// What to do after the command line is read.
pub enum Outcome {
    /// Start the server with this configuration.
    Start(Config),
    /// End with this code.
    End(ExitCode),
}

impl CommandLine {
    /// Reads the command line and the component's configuration; ends the process for `--help`, `--version` and unknown
    /// options.
    #[must_use]
    pub fn read(component: Component) -> Outcome {
        let program = match component {
            Component::Verifier => "keylime_verifier",
            Component::Registrar | Component::Tenant | Component::Ca | Component::Logging => "keylime_registrar",
        };
        let matches = Arguments::command().name(program).get_matches();
        let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let config = match Config::load(component) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(target: "keylime.config", critical = true, "{error}");
                return Outcome::End(ExitCode::FAILURE);
            }
        };
        if !arguments.print_config {
            return Outcome::Start(config);
        }
        match print_effective(&config, &mut std::io::stdout().lock()) {
            Ok(()) => Outcome::End(ExitCode::SUCCESS),
            Err(_) => Outcome::End(ExitCode::FAILURE),
        }
    }
}
