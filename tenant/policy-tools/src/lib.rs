//! The tools that make, sign, convert, compare and test policies: `keylime-policy` and its older siblings.
//!
//! A tool is a function of its arguments and its [`Environment`]: [`run`] answers an exit code and writes results and
//! messages to the two streams it is given. What a policy says and whether it is valid is the engine's business; this
//! crate collects reference values from lists, file systems, RAM disks and repositories, and never decides about trust.
//! Options, messages, exit codes and outputs are those of Keylime's tools (`policy-tools.md`).

#![forbid(unsafe_code)]

mod algorithm_choice;
mod allowlist;
pub mod command_line;
mod convert_runtime_policy;
mod create_measured_boot;
mod create_policy;
mod create_runtime;
mod digest_map;
pub mod environment;
mod error;
mod exclude_list;
mod file_digests;
mod initrd;
mod key_files;
mod measurement_list;
mod mount_table;
mod policy_difference;
mod policy_draft;
mod policy_file;
mod policy_lint;
mod policy_signer;
mod policy_trial;
pub mod process;
mod program;
mod python_text;
mod root_filesystem;
mod rpm;
mod sign_runtime;
mod signing_key;

pub use environment::{Environment, ProgressDisplay};
pub use program::{Program, run};
