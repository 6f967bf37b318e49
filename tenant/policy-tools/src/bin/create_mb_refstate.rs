//! `create_mb_refstate`: makes reference states from boot logs.

use keylime_policy_tools::{Program, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    process::main(Program::CreateMbRefstate)
}
