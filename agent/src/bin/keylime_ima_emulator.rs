//! The IMA emulator's program: follows an IMA list and extends a software TPM, as a kernel would.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use keylime_agent::ima_emulator::{EmulatorError, ImaEmulator};
use keylime_agent::tpm::esapi::EsapiTpm;
use keylime_engine::algorithm::HashAlgorithm;
use tokio::signal::unix::{SignalKind, signal};

/// Time between two looks at the list.
const INTERVAL: Duration = Duration::from_millis(200);
/// Where the way to the TPM may be named, in order.
const TCTI_VARIABLES: [&str; 3] = ["TPM2TOOLS_TCTI", "TCTI", "TEST_TCTI"];

/// Extends PCR 10 of a software TPM with the entries of an IMA measurement list.
#[derive(Parser)]
#[command(name = "keylime_ima_emulator", version)]
struct Arguments {
    /// PCR banks to extend, may be repeated.
    #[arg(short = 'a', long = "hash_algs", value_name = "ALG", value_parser = hash_algorithm, default_value = "sha1")]
    hash_algs: Vec<HashAlgorithm>,
    /// Algorithm of the template hashes in the list.
    #[arg(short = 'i', long = "ima-hash-alg", value_name = "ALG", value_parser = hash_algorithm, default_value = "sha1")]
    ima_hash_alg: HashAlgorithm,
    /// The list.
    #[arg(
        short = 'f',
        long = "ima-log",
        value_name = "PATH",
        default_value = "/sys/kernel/security/ima/ascii_runtime_measurements"
    )]
    ima_log: PathBuf,
}

fn hash_algorithm(name: &str) -> Result<HashAlgorithm, String> {
    HashAlgorithm::from_name(name).ok_or_else(|| {
        let names = HashAlgorithm::ALL.map(HashAlgorithm::name).join(", ");
        format!("not one of {names}")
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(tcti) = TCTI_VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
    else {
        eprintln!("This stub requires TCTI environment variable set properly");
        return ExitCode::FAILURE;
    };
    match run(&arguments, &tcti) {
        Ok(()) => {
            println!("Shutting down keylime IMA emulator");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("{0}")]
    Emulator(#[from] EmulatorError),
    #[error("cannot watch for signals: {0}")]
    Signals(#[from] std::io::Error),
}

fn run(arguments: &Arguments, tcti: &str) -> Result<(), RunError> {
    let tpm = EsapiTpm::open(tcti, b"").map_err(EmulatorError::from)?;
    let mut emulator = ImaEmulator::attach(tpm, &arguments.ima_log, arguments.ima_hash_alg, &arguments.hash_algs)?;
    println!("Monitoring {}", arguments.ima_log.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            emulator.catch_up()?;
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    })
}
