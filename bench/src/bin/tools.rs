//! Measures the operator's tools as whole processes and prints one JSON line for each.

use clap::Parser as _;
use keylime_bench::fleet::FleetError;
use keylime_bench::fleet::options::Subject;
use keylime_bench::tools::measured_process::run_only_child;
use keylime_bench::tools::options::{Options, Task, Tool};
use keylime_bench::tools::trial::{Trial, ratios};
use keylime_harness::stack::Implementation;
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.task {
        Some(Task::Measure { output, command }) => {
            run_only_child(command, output).map(|cost| println!("{}", json!(cost))).map_err(FleetError::from)
        }
        None => run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tools: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), FleetError> {
    keylime_pki::install_crypto_provider();
    let trial = Trial::new(options)?;
    for tool in options.tools() {
        println!("{}", compare(&trial, *tool, options.whose)?);
    }
    Ok(())
}

fn compare(trial: &Trial, tool: Tool, whose: Subject) -> Result<Value, FleetError> {
    let name = tool.name();
    Ok(match whose {
        Subject::Ours => json!({ "tool": name, "ours": trial.run(tool, Implementation::Ours)? }),
        Subject::Peer => json!({ "tool": name, "peer": trial.run(tool, Implementation::Peer)? }),
        Subject::Both => {
            let (ours, peer) = (trial.run(tool, Implementation::Ours)?, trial.run(tool, Implementation::Peer)?);
            let ratios = ratios(&ours, &peer);
            json!({ "tool": name, "ours": ours, "peer": peer, "ratios": ratios })
        }
    })
}
