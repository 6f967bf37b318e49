//! Messages about runtime and measured boot policies (`verifier-v2.md` §4, §5).

use serde::{Deserialize, Serialize};

/// Results of `GET /v2.x/allowlists/`; the space in the name is the wire's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimePolicyNames {
    /// Names of all runtime policies.
    #[serde(rename = "runtimepolicy names")]
    pub names: Vec<String>,
}

/// Results of `GET /v2.x/allowlists/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimePolicyReply {
    /// The name.
    pub name: String,
    /// Always null; a misspelt `tpm_policy` that peers have come to expect.
    pub tmp_policy: Option<String>,
    /// The policy or DSSE envelope as it was sent.
    pub runtime_policy: String,
}

/// Results of `GET /v2.x/mbpolicies/`; the space in the name is the wire's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPolicyNames {
    /// Names of all measured boot policies.
    #[serde(rename = "mbpolicy names")]
    pub names: Vec<String>,
}

/// Results of `GET /v2.x/mbpolicies/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPolicyReply {
    /// The name.
    pub name: String,
    /// The policy as it was sent.
    pub mb_policy: Option<String>,
}
