//! `keylime_convert_runtime_policy`: brings policies of older formats into the current one.

use keylime_policy_tools::{Program, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    process::main(Program::ConvertRuntimePolicy)
}
