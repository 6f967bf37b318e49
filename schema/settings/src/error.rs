//! Why configuration could not be used, in words that say which file and option to mend.

/// A configuration that cannot be read or understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A file breaks the INI syntax.
    #[error("{path}, line {line}: {problem}")]
    Syntax {
        /// The file.
        path: String,
        /// 1-based line number.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A value does not have the type of its option.
    #[error("option '{option}' in section [{section}] of {component}.conf: {problem}")]
    Value {
        /// Component name.
        component: &'static str,
        /// Section name.
        section: String,
        /// Option name.
        option: String,
        /// What is wrong.
        problem: String,
    },
}
