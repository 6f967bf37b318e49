//! The agents' configuration: TOML files in layers, environment variables over them (`config.md` §8, `agent-api.md` §7).

pub mod address;
pub mod device_identity_settings;
pub mod layers;
pub mod list_syntax;
pub mod push_settings;
pub mod settings;
pub mod value;

use std::path::PathBuf;

pub use layers::{Environment, Layers};
pub use push_settings::PushSettings;
pub use settings::AgentSettings;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// `KEYLIME_AGENT_CONFIG` names a file that is not there.
    #[error("missing file {} set in 'KEYLIME_AGENT_CONFIG' environment variable", .0.display())]
    MissingFile(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is too large to be a configuration.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes read.
        limit: u64,
    },
    /// A file is not TOML.
    #[error("{} is not valid toml: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A file has no table `[agent]`.
    #[error("{} has no [agent] section", .0.display())]
    NoSection(PathBuf),
    /// A value has the wrong kind.
    #[error("option {option} must be {expected}, not {found:?}")]
    Kind {
        /// The option.
        option: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A list is malformed.
    #[error("option {option} is not a list: {source}")]
    List {
        /// The option.
        option: &'static str,
        /// Why.
        source: list_syntax::InvalidList,
    },
    /// A value is not among those the option may have.
    #[error("option {option} has the unknown value {found:?}")]
    Unknown {
        /// The option.
        option: &'static str,
        /// What it is.
        found: String,
    },
    /// The working directory does not exist.
    #[error("keylime_dir {} does not exist: {source}", path.display())]
    WorkDirectory {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be used.
        source: std::io::Error,
    },
    /// Options that exclude one another.
    #[error("{0}")]
    Conflict(String),
}
