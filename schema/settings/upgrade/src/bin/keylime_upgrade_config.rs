//! `keylime_upgrade_config`: brings configuration files to a newer format.

#![forbid(unsafe_code)]

use clap::Parser as _;
use keylime_config_upgrade::command_line::{Arguments, detail, run};
use keylime_config_upgrade::journal::Journal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let journal = Journal::new(detail(&arguments));
    match run(&arguments, &journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            journal.error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
