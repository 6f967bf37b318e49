//! The options of the two servers (`config.md` §3, §4), read once at start into plain structs.

mod authority;
mod error;
mod print;
mod registrar;
mod revocations;
mod shared;
mod verifier;

pub use authority::AuthorityConfiguration;
pub use error::ConfigurationError;
pub use print::print_effective;
pub use registrar::RegistrarConfiguration;
pub use revocations::{AmqpTlsConfiguration, ClientCertificate, RevocationConfiguration};
pub use shared::{DatabaseConfiguration, TlsConfiguration, TlsDirectory, TrustedAuthorities, WebConfiguration};
pub use verifier::{Mode, PushConfiguration, VerifierConfiguration};
