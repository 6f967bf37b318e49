//! Error objects of this version: status, code, detail and the place in the request; no title.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// One thing that was wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorObject {
    /// HTTP status.
    pub status: u16,
    /// Keylime's name of the error.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// JSON pointer to the culprit in the request document.
    pub pointer: Option<String>,
}

impl ErrorObject {
    /// An error without a place.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), pointer: None }
    }

    /// 404: what the path names does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", detail)
    }

    /// 409: what the request makes exists, or is being made.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", detail)
    }

    /// 422: a member of the resource is wrong; `pointer` leads to it from `/data/attributes`.
    pub fn invalid_resource_data(detail: impl Into<String>, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(422, "invalid_resource_data", detail) }
    }
}

impl Serialize for ErrorObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Source<'a> {
            pointer: &'a str,
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", &self.status.to_string())?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(pointer) = self.pointer.as_deref() {
            map.serialize_entry("source", &Source { pointer })?;
        }
        map.end()
    }
}

/// The HTTP status of an answer with these errors: theirs when all agree, else 400, or 500 when one is the server's fault.
#[must_use]
pub fn http_status(errors: &[ErrorObject]) -> u16 {
    let Some(first) = errors.first() else { return 500 };
    if errors.iter().all(|error| error.status == first.status) {
        return first.status;
    }
    if errors.iter().all(|error| (400..500).contains(&error.status)) { 400 } else { 500 }
}
