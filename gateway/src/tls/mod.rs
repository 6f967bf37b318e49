//! The TLS files of a server: where they are, how they are made, and what comes out of them (`ca.md` §5).

mod directory;
mod generate;
mod host_names;
mod reload;
mod server_files;

pub use directory::TlsPaths;
pub use generate::{GenerateError, Generated, generate};
pub use host_names::AlternativeNames;
pub use reload::reload_when_changed;
pub use server_files::{ServerTlsFiles, TlsSetupError};

pub(crate) use server_files::refuse_exposed;
