//! PCR 16, which binds the agent's payload key to its quotes (`tpm-formats.md` §3).

use crate::algorithm::{Digest, HashAlgorithm};

/// The PCR that holds the payload key: resettable, reset and extended for every quote.
pub const DATA_PCR: u8 = 16;

/// The value of a PCR after a reset and one extension with the digest of `data`.
#[must_use]
pub fn extended_once(bank: HashAlgorithm, data: &[u8]) -> Digest {
    let reset = Digest::filled(0, bank.digest_len());
    bank.digest(&[reset.as_bytes(), bank.digest(&[data]).as_bytes()])
}
