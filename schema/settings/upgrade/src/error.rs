//! Why configuration files could not be upgraded.

use std::path::PathBuf;

/// Why an upgrade ended without writing its files.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A path given on the command line is missing or of the wrong kind.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A configuration file breaks its syntax.
    #[error("{path}, line {line}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A mapping cannot be used.
    #[error("could not use mapping {path}: {reason}")]
    Mapping {
        /// The mapping.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A template cannot be rendered.
    #[error("could not render template {path}: {reason}")]
    Template {
        /// The template.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An adjustment script is there, and nothing that can run it.
    #[error(
        "{0} has to be run to bring the configuration to this version, and there is no python3 to run it; install \
         python3, or use the built-in templates"
    )]
    NoPython(PathBuf),
    /// The built-in catalogue of options is damaged.
    #[error("built-in options of {component}: {reason}")]
    Catalogue {
        /// Component.
        component: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl UpgradeError {
    /// A file the system refused.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, reason: error.to_string() }
    }
}
