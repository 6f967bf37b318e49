//! Why a run ends without a result.

use crate::soft_tpm::SoftTpmError;

/// Why a run ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file, socket or process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The software TPM.
    #[error(transparent)]
    Tpm(#[from] SoftTpmError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] keylime_pki::tls::TlsError),
    /// A connection to a server.
    #[error("connection to the server failed: {0}")]
    Connection(#[from] hyper::Error),
    /// A server answered otherwise than expected.
    #[error("{method} {path} was answered {status}: {body}")]
    Answer {
        /// The request.
        method: String,
        /// Its path.
        path: String,
        /// The answer's code.
        status: u16,
        /// The start of its body.
        body: String,
    },
    /// The options do not fit together, or something needed is absent.
    #[error("{0}")]
    Setup(String),
}
