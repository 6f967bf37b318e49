//! The databases of verifier and registrar: addresses, connections, tables and their migrations.
//!
//! A database is either made here, with the tables of Keylime's migration head, or was made by Keylime and is used as it
//! is; the Python services can open both. What Keylime has no table for lives in tables of our own (`migration`).
//! Nothing here decides about trust, and nothing here reads configuration: the caller hands over an [`OpenOptions`].

mod connect;
pub mod entity;
mod fault;
pub mod migration;
mod pool_size;
mod url;

pub use connect::{Database, DatabaseError, Engine, OpenOptions, SchemaChange};
pub use fault::Fault;
pub use pool_size::{InvalidPoolSize, PoolSize};
pub use url::{DatabaseUrl, InvalidDatabaseUrl, ServerEngine, ServerUrl, SqliteLocation};

/// Whose tables a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The verifier: agents, policies, attestations, sessions, and our revocation outbox.
    Verifier,
    /// The registrar: registrations.
    Registrar,
}

impl Service {
    /// File that the keyword `sqlite` means, inside Keylime's working directory.
    #[must_use]
    pub const fn default_file_name(self) -> &'static str {
        match self {
            Self::Verifier => "cv_data.sqlite",
            Self::Registrar => "reg_data.sqlite",
        }
    }
}
