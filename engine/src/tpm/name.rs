//! Names of TPM objects: the hash algorithm's identifier followed by the digest of the public area
//! (TPM 2.0 Part 1, clause 16).

use crate::algorithm::HashAlgorithm;
use std::fmt;

/// The Name of an object, as large as its hash needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TpmName {
    bytes: [u8; 66],
    len: u8,
}

impl TpmName {
    /// Computes the Name of a public area (TPMT_PUBLIC, without its size prefix).
    #[must_use]
    pub fn of_public_area(name_alg: HashAlgorithm, tpmt_public: &[u8]) -> Self {
        let digest = name_alg.digest(&[tpmt_public]);
        let digest = digest.as_bytes();
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(&name_alg.tpm_id().to_be_bytes());
        bytes[2..2 + digest.len()].copy_from_slice(digest);
        #[allow(clippy::cast_possible_truncation, reason = "a digest has at most 64 bytes")]
        Self { bytes, len: 2 + digest.len() as u8 }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TpmName({self})")
    }
}
