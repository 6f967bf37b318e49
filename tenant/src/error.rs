//! Why a run of the tenant fails: every variant ends in one ERROR line and exit code 1.

use keylime_pki::authority::AuthorityError;
use keylime_settings::ConfigError;

use crate::client_tls::ClientTlsError;
use crate::http::HttpError;
use crate::version_negotiation::Incompatible;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The operator's input or a peer's answer rules the command out.
    #[error("{0}")]
    Refused(String),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The TLS set-up failed.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// A request got no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A peer speaks no version of ours.
    #[error(transparent)]
    Version(#[from] Incompatible),
    /// The policies cannot be used.
    #[error(transparent)]
    Policy(#[from] crate::policies::PolicyError),
    /// The payload cannot be prepared.
    #[error(transparent)]
    Payload(#[from] crate::payload::PayloadError),
    /// The certificate authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A peer's answer is not the JSON it should be.
    #[error("the answer of the {peer} is not the JSON object it should be")]
    Malformed {
        /// Who answered.
        peer: &'static str,
    },
}

impl TenantError {
    /// The operator's input or a peer's answer rules the command out.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }
}
