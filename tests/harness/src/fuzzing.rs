//! Builds the fuzz targets of `tests/fuzz` and runs each of them for a bounded time.
//!
//! A stable compiler does: the coverage that libFuzzer needs is a pass of LLVM, and memory errors are what the sources
//! forbid, so no sanitizer is linked. What a run finds beyond the kept corpus stays in the target directory.

use crate::binaries;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

/// How the targets are instrumented, as cargo-fuzz does it.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Largest input libFuzzer makes, in bytes; larger ones are for the tests of memory bounds.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// Memory at which a target counts as failed, in MiB.
const MEMORY_MIB: usize = 1024;

/// Time for one input at which a target counts as failed, in seconds.
const INPUT_SECONDS: u64 = 10;

/// What one target did.
#[derive(Debug)]
pub struct FuzzRun {
    /// Its name.
    pub target: String,
    /// Inputs that were executed.
    pub executions: u64,
    /// The end of what it said, when it found something.
    pub finding: Option<String>,
}

/// The names of the targets, one for each file.
///
/// # Errors
/// The directory cannot be read.
pub fn targets() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(sources().join("src/bin"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets.
///
/// # Errors
/// The build fails.
pub fn build() -> io::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--bins", "--target", &host()?]);
    command.arg("--target-dir").arg(output()).current_dir(sources());
    // Nothing of the caller's flags: what is built here has a target directory of its own.
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"));
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cargo build ended with {status}"))) }
}

/// Runs every target for `time`, as many at once as there are cores, and reports each when it ends.
///
/// # Errors
/// A target cannot be started.
pub fn run(time: Duration, report: impl Fn(&FuzzRun) + Sync) -> io::Result<Vec<FuzzRun>> {
    let waiting = Mutex::new(targets()?);
    let runs = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let host = host()?;
    std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            loop {
                let Some(target) = waiting.lock().ok().and_then(|mut waiting| waiting.pop()) else { return Ok(()) };
                let run = run_one(&target, &host, time)?;
                report(&run);
                if let Ok(mut runs) = runs.lock() {
                    runs.push(run);
                }
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that ran a target panicked")))
        })
    })?;
    let mut runs = runs.into_inner().unwrap_or_default();
    runs.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(runs)
}

fn run_one(target: &str, host: &str, time: Duration) -> io::Result<FuzzRun> {
    let program = output().join(host).join("release").join(target);
    let found = output().join("found").join(target);
    std::fs::create_dir_all(&found)?;
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    command.arg(format!("-max_len={MAX_INPUT_BYTES}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-timeout={INPUT_SECONDS}"));
    command.arg("-print_final_stats=1").arg(format!("-artifact_prefix={}/", found.display()));
    // New inputs go to the first directory; the kept corpus is only read.
    let corpus = found.join("corpus");
    std::fs::create_dir_all(&corpus)?;
    command.arg(corpus).arg(sources().join("corpus").join(target));
    let Output { status, stderr, .. } = command.output()?;
    let said = String::from_utf8_lossy(&stderr);
    let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions = executions.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
    let finding = (!status.success() || executions == 0).then(|| tail(&said));
    Ok(FuzzRun { target: target.to_owned(), executions, finding })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn sources() -> PathBuf {
    binaries::workspace().join("tests/fuzz")
}

/// Where the targets are built and what they find is kept: beside the other binaries, so that it goes with them.
fn output() -> PathBuf {
    binaries::dir().parent().unwrap_or(Path::new(".")).join("fuzz")
}

/// The triple of this machine: with it named, the flags reach the targets and not the build scripts.
fn host() -> io::Result<String> {
    let output = Command::new("rustc").args(["--version", "--verbose"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| io::Error::other("rustc does not name its host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_kept_corpus_and_names_its_function() {
        let targets = targets().unwrap();
        assert!(targets.len() >= 16, "{targets:?}");
        for target in targets {
            let corpus = sources().join("corpus").join(&target);
            assert!(corpus.read_dir().is_ok_and(|mut files| files.next().is_some()), "{target} has no corpus");
            let source = std::fs::read_to_string(sources().join(format!("src/bin/{target}.rs"))).unwrap();
            assert!(source.contains(&format!("keylime_fuzz::{target}(data)")), "{target} runs something else");
        }
    }
}
