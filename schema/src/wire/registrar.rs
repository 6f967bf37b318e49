//! Messages of the registrar (`registrar.md` §4).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Results of `GET /v2.x/agents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationList {
    /// Ids of all registrations, activated or not.
    pub uuids: Vec<String>,
}

/// Results of `GET /v2.x/agents/{agent_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the members of registrar.md §4")]
pub struct Registration {
    pub agent_id: String,
    /// Base64 of a TPM2B_PUBLIC.
    pub ek_tpm: Option<String>,
    /// Base64 of a DER certificate.
    pub ekcert: Option<String>,
    /// Base64 of a TPM2B_PUBLIC.
    pub aik_tpm: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    /// PEM certificate, `disabled`, or nothing.
    pub mtls_cert: Option<String>,
    pub regcount: i32,
    /// Only of rows whose legacy column `virtual` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_keys: Option<Value>,
}

/// Results of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Base64 of a MakeCredential blob.
    pub blob: String,
}
