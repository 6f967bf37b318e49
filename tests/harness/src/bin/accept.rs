//! `cargo accept`: every kind of test, on real parts, from a clean clone.

use clap::Parser;
use keylime_harness::{binaries, fuzzing, packages, peer};
use std::io;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Runs all tests: unit, property, golden, tidy, integration on swtpm, RabbitMQ, PostgreSQL and MariaDB, the peer tests
/// against Keylime 7.14.3, and a minute of every fuzz target. Installs what is missing.
#[derive(Parser)]
#[command(name = "cargo accept", version)]
struct Options {
    /// Run every kind of test for longer: more cases of each property and simulation, longer fuzzing.
    #[arg(long)]
    full: bool,
    /// Run only the tests whose name holds this text.
    filter: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} steps failed");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("cannot run the tests: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<usize> {
    let start = Instant::now();
    let mut needed: Vec<&str> = [&packages::BUILD[..], &packages::DEMO, &packages::TESTS].concat();
    if options.full {
        needed.extend(packages::FULL);
    }
    step("packages", || packages::ensure(&needed))?;
    step("Keylime from PyPI", peer::ensure)?;
    // All targets at once, so that the test run below finds everything built with the same features.
    step("build", || cargo(&["build", "--workspace", "--all-targets", "--locked"], options))?;
    let mut failed = 0;
    if has_component("fmt") {
        failed += usize::from(step("formatting", || cargo(&["fmt", "--all", "--check"], options)).is_err());
    }
    if has_component("clippy") {
        let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"];
        failed += usize::from(step("clippy", || cargo(&arguments, options)).is_err());
    }
    let mut arguments = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
    arguments.extend(options.filter.as_deref());
    failed += usize::from(step("tests", || cargo(&arguments, options)).is_err());
    if options.filter.is_none() {
        failed += usize::from(step("fuzz targets", fuzzing::build).is_err());
        failed += usize::from(step("fuzzing", || fuzz(options, start)).is_err());
    }
    Ok(failed)
}

/// Time for each fuzz target.
const FUZZ_TIME: Duration = Duration::from_mins(1);
const FULL_FUZZ_TIME: Duration = Duration::from_hours(1);

/// When fuzzing ends, counted from the start: the whole run has to stay under an hour on a slow machine, too.
const FUZZ_END: Duration = Duration::from_mins(48);

/// Less says nothing of a target.
const LEAST_FUZZ_TIME: Duration = Duration::from_secs(10);

/// Time for each of `targets` when `workers` of them run at once and `passed` is over already.
fn fuzz_time(passed: Duration, targets: usize, workers: usize) -> Duration {
    let rounds = u32::try_from(targets.div_ceil(workers.max(1))).unwrap_or(u32::MAX).max(1);
    (FUZZ_END.saturating_sub(passed) / rounds).clamp(LEAST_FUZZ_TIME, FUZZ_TIME)
}

fn fuzz(options: &Options, start: Instant) -> io::Result<()> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let short = fuzz_time(start.elapsed(), fuzzing::targets()?.len(), workers);
    let time = if options.full { FULL_FUZZ_TIME } else { short };
    if time < FUZZ_TIME {
        println!("fuzz: {} s a target instead of {}, to end in time", time.as_secs(), FUZZ_TIME.as_secs());
    }
    let runs = fuzzing::run(time, |run| {
        let verdict = if run.finding.is_none() { "ok" } else { "FAILED" };
        println!("fuzz {:<20} {:>12} executions in {} s: {verdict}", run.target, run.executions, time.as_secs());
    })?;
    let executions: u64 = runs.iter().map(|run| run.executions).sum();
    println!("fuzz: {} targets, {executions} executions", runs.len());
    let findings: Vec<&fuzzing::FuzzRun> = runs.iter().filter(|run| run.finding.is_some()).collect();
    for run in &findings {
        eprintln!("--- {}\n{}", run.target, run.finding.as_deref().unwrap_or_default());
    }
    if findings.is_empty() { Ok(()) } else { Err(io::Error::other(format!("{} targets failed", findings.len()))) }
}

fn step(name: &str, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    println!("=== {name}");
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    println!("=== {name}: {verdict}, {:.0} s", start.elapsed().as_secs_f64());
    if let Err(e) = &result {
        eprintln!("{e}");
    }
    result
}

fn has_component(name: &str) -> bool {
    Command::new(cargo_program()).args([name, "--version"]).output().is_ok_and(|o| o.status.success())
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn cargo(arguments: &[&str], options: &Options) -> io::Result<()> {
    let mut command = Command::new(cargo_program());
    command.args(arguments).current_dir(binaries::workspace());
    command.env("KEYLIME_BIN_DIR", binaries::dir()).env("KEYLIME_PEER_DIR", peer::dir());
    if options.full {
        command.env("PROPTEST_CASES", "20000").env("KEYLIME_TEST_EFFORT", "full");
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cargo {} ended with {status}", arguments[0]))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzing_takes_a_minute_each_unless_the_hour_would_not_suffice() {
        assert_eq!(fuzz_time(Duration::from_mins(20), 20, 2), FUZZ_TIME);
        assert_eq!(fuzz_time(Duration::from_mins(43), 20, 2), Duration::from_secs(30));
        assert_eq!(fuzz_time(Duration::from_mins(59), 20, 2), LEAST_FUZZ_TIME);
    }
}
