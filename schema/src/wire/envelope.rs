//! The frame of every v2 answer: `{"code": …, "status": …, "results": …}` (`verifier-v2.md` §1).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A v2 answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The HTTP status, repeated.
    pub code: u16,
    /// `Success`, the HTTP reason, or what went wrong.
    pub status: String,
    /// The data; an empty object when there is none.
    pub results: T,
}

impl<T> Envelope<T> {
    /// The answer to a request that worked.
    pub fn success(results: T) -> Self {
        Self { code: 200, status: "Success".to_owned(), results }
    }
}

impl Envelope<Map<String, Value>> {
    /// An answer without data.
    pub fn empty(code: u16, status: impl Into<String>) -> Self {
        Self { code, status: status.into(), results: Map::new() }
    }
}
