//! Reference values from RPM packages and repositories (`policy-tools.md` §2.1).
//!
//! A package's header lists the digests of its files, so that neither payload nor installation is needed. Nothing here
//! verifies packages: a repository's metadata may be signed, and that signature is verified.

mod header;
mod local;
mod metadata;
mod remote;
mod signature;

pub use local::digests_of_directory;
pub use remote::digests_at_url;

use crate::digest_map::DigestMap;

/// What was found in a repository, and what its user should know.
#[derive(Debug, Default)]
pub struct RepositoryDigests {
    /// Digests by path.
    pub digests: DigestMap,
    /// Messages for the user.
    pub warnings: Vec<String>,
}

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A directory is missing.
    #[error("{0} does not seem to exist")]
    Missing(String),
    /// A file of metadata is missing.
    #[error("{0} cannot be found")]
    NotFound(String),
    /// The metadata are signed, but there is no key.
    #[error("Error. Key file {0} missing")]
    KeyMissing(String),
    /// The signature does not vouch for the metadata.
    #[error("Error. Invalid signature. Untrusted repository ({0})")]
    Untrusted(String),
    /// Metadata cannot be read.
    #[error("{0}: {1}")]
    Metadata(String, metadata::MetadataError),
    /// A package cannot be read.
    #[error("{0}: {1}")]
    Package(String, header::HeaderError),
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    /// A server cannot be reached, or an address not used.
    #[error("{0}: {1}")]
    Unreachable(String, String),
}

const UNSIGNED: &str = "Warning. Unsigned repository. Continuing the RPM scanning";
