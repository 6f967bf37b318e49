//! What the gateway asks of the registrar system, and what it gets.

use crate::ports::StoreError;
use serde_json::{Map, Value};

/// A registration request: the JSON members of `registrar.md` §4 as they came; the engine casts and checks them.
#[derive(Debug, Clone)]
pub struct RegisterAgent {
    /// From the path, or from the body on the collection path.
    pub agent_id: String,
    /// All members of the request; absent and null differ.
    pub members: Map<String, Value>,
}

/// Why a registration was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegisterError {
    /// Invalid data; the texts are for the log, not for the client.
    #[error("invalid data: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The same id with another TPM identity.
    #[error("re-registration with a different TPM identity")]
    IdentityChanged,
    /// Another registration of this id won the race.
    #[error("concurrent registration")]
    Concurrent,
    /// The registrar is overloaded or stopping.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an activation was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ActivateError {
    /// No such registration.
    #[error("agent not found")]
    NotFound,
    /// The tag is wrong; the registration was deleted and its challenge with it (CVE-2023-38201).
    #[error("auth tag does not match")]
    WrongTag,
    /// The registrar is overloaded or stopping.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a registration could not be deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteError {
    /// No such registration.
    #[error("agent not found")]
    NotFound,
    /// The registrar is overloaded or stopping.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// The database could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
