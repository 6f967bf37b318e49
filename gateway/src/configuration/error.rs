//! Why a configuration cannot be used.

use keylime_settings::ConfigError;

/// A configuration that cannot be used; the text names the option.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file or a value cannot be understood.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// A value is understood, but makes no sense.
    #[error("option '{option}': {problem}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The option asks for something this server does not have.
    #[error("option '{option}' is set, but {feature} is not supported; leave it empty")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// What it asks for.
        feature: &'static str,
    },
}

impl ConfigurationError {
    /// A value that makes no sense.
    pub(crate) fn value(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Value { option, problem: problem.into() }
    }
}
