//! What both server binaries do between `main` and serving.

mod announcement;
mod command_line;
mod database;
mod environment;
mod serve;
mod tls_setup;

pub use announcement::announce;
pub use command_line::{CommandLine, Outcome};
pub use database::open_database;
pub use environment::{prepare_process, test_mode};
pub use serve::{Operations, StopSignals, serve};
pub use tls_setup::{StartError, require_work_dir, server_tls};
