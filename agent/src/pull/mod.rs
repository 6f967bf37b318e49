//! The pull agent: an HTTP server that the verifier and the tenant ask (`agent-api.md`).

pub mod agent_info;
pub mod answer;
pub mod daemon;
pub mod keys;
pub mod notifications;
pub mod quotes;
pub mod routes;
pub mod server;
pub mod state;
pub mod unsupported;
pub mod version;

pub use daemon::{DaemonError, run};
