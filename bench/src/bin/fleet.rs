//! Drives a verifier or registrar with a fleet of simulated agents and prints one JSON line.

use clap::Parser as _;
use keylime_bench::fleet::FleetError;
use keylime_bench::fleet::options::{Options, Subject};
use keylime_bench::fleet::{report, scenario};
use keylime_harness::stack::Implementation;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    keylime_pki::install_crypto_provider();
    match raise_descriptor_limit().and_then(|()| run(&options)) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("fleet: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Thousands of connections need as many descriptors, here and in the servers, which inherit the limit.
fn raise_descriptor_limit() -> Result<(), FleetError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(std::io::Error::from)?)
}

fn run(options: &Options) -> Result<Value, FleetError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measure = |whose| runtime.block_on(scenario::run(whose, options));
    let mut result = report::parameters(options);
    match options.verifier {
        Subject::Ours => {
            result.insert("ours".to_owned(), measure(Implementation::Ours)?);
        }
        Subject::Peer => {
            result.insert("peer".to_owned(), measure(Implementation::Peer)?);
        }
        Subject::Both => {
            let (ours, peer) = (measure(Implementation::Ours)?, measure(Implementation::Peer)?);
            let ratios = report::ratios(&ours, &peer);
            result.extend([("ours".to_owned(), ours), ("peer".to_owned(), peer), ("ratios".to_owned(), ratios)]);
        }
    }
    Ok(json!(result))
}
