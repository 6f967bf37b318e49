//! Why a tool ends without a result.

use crate::environment::FileError;
use std::io;

/// Why a tool ends without a result; displayed as the last message the user sees.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The input is not what the tool needs.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    /// A refusal with this message.
    pub fn refused(message: impl std::fmt::Display) -> Self {
        Self::Refused(message.to_string())
    }
}

/// Puts `context` before the message of a file's error.
pub fn in_context(context: &'static str) -> impl FnOnce(FileError) -> ToolError {
    move |error| ToolError::Refused(format!("{context}: {error}"))
}
