//! `keylime-policy`: makes, signs, compares and tests policies.

use keylime_policy_tools::{Program, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    process::main(Program::KeylimePolicy)
}
