//! Results of `GET /v2.x/verify/identity` (`verifier-v2.md` §6.1).

use serde::{Deserialize, Serialize};

/// Whether a quote was made by the TPM of an enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityReply {
    /// 1 or 0.
    pub valid: u8,
    /// Contexts of the failures as JSON texts, joined by `; `; only when not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
