//! Errors in the style of JSON:API, used for every refusal of authentication and authorization (`authorization.md` §3, §5).

use serde::{Deserialize, Serialize};

/// `{"errors": […]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// What went wrong; one entry in all answers of the v2 interfaces.
    pub errors: Vec<ErrorObject>,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// The HTTP status as text.
    pub status: String,
    /// The HTTP reason.
    pub title: String,
    /// A sentence for people.
    pub detail: String,
}

impl ErrorDocument {
    /// A document with one error.
    pub fn one(status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { errors: vec![ErrorObject { status: status.to_string(), title: title.into(), detail: detail.into() }] }
    }
}
