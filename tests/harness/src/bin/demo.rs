//! `cargo demo`: attests a machine and catches it, live on the terminal.

use clap::Parser;
use keylime_harness::demonstration::{self, Notice};
use std::process::ExitCode;

/// Starts a software TPM, a registrar, a verifier and an agent on this machine, enrols the agent, shows its attestation,
/// runs a program that its policy does not know, and shows how it is caught and who hears of it. Needs no configuration,
/// touches nothing outside a temporary directory, and cleans up.
#[derive(Parser)]
#[command(name = "cargo demo", version)]
struct Options {
    /// Receive the revocation through a webhook; do not start RabbitMQ.
    #[arg(long)]
    no_broker: bool,
    /// Seconds between two quotes.
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let notice = if options.no_broker { Notice::Webhook } else { Notice::RabbitMq };
    match demonstration::run(notice, options.interval) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("\nthe demonstration could not go on: {e}");
            ExitCode::FAILURE
        }
    }
}
