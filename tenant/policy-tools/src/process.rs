//! A tool as a process: its arguments, directory, user and streams.

use crate::environment::{Environment, ProgressDisplay};
use crate::program::{Program, run};
use std::io::{BufWriter, IsTerminal as _, stderr, stdout};
use std::process::ExitCode;
use time::UtcOffset;

/// Runs a tool as this process.
#[must_use]
pub fn main(program: Program) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let environment = Environment {
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        effective_user: nix::unistd::geteuid().as_raw(),
        columns: keylime_arguments::terminal_width(),
        // Asked before any thread is started; afterwards nobody could tell.
        offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
        progress: if stderr().is_terminal() { ProgressDisplay::Bar } else { ProgressDisplay::Hidden },
    };
    let mut out = BufWriter::new(stdout().lock());
    // Standard error stays unlocked: the progress bar is drawn from other threads.
    let code = run(program, &arguments, &environment, &mut out, &mut stderr());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
