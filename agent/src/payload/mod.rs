//! The tenant's payload: decrypted into the secure mount, unpacked, its script run (`agent-api.md` §3).

pub mod run;
pub mod unpack;
pub mod worker;

use std::path::PathBuf;

/// Why a payload was not run.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The key does not open it.
    #[error("cannot decrypt the payload: {0}")]
    Cipher(#[from] keylime_pki::payload_cipher::CipherError),
    /// An option without which there is no place for it is empty.
    #[error("option {0} is empty")]
    NoName(&'static str),
    /// A file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It is not a zip file, or one that is refused.
    #[error("cannot unpack the payload: {0}")]
    Unpack(#[from] unpack::UnpackError),
    /// It could not be measured.
    #[error("cannot measure the payload: {0}")]
    Measurement(#[from] crate::tpm::TpmError),
    /// The work was abandoned.
    #[error("payload worker was stopped")]
    Stopped,
}

impl PayloadError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
