//! Failures of a boot event log.

use serde_json::Value;
use std::borrow::Cow;

/// What is wrong with a boot event log.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasuredBootFailure {
    /// The log cannot be parsed; the text says where.
    Malformed(String),
}

impl MeasuredBootFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(_) => Cow::Borrowed("parser.tpm2_eventlog.error"),
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::Malformed(text) => {
                serde_json::json!({ "context": "tpm2_eventlog exited with non-zero return code", "data": text })
            }
        }
    }
}
