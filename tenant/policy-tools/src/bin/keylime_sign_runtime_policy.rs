//! `keylime_sign_runtime_policy`: signs policies, with the options from before keylime-policy.

use keylime_policy_tools::{Program, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    process::main(Program::SignRuntimePolicy)
}
