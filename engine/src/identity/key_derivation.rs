//! KDFa and KDFe, the TPM's key derivations (TPM 2.0 Part 1, 11.4.10.2 and 11.4.10.3).

use crate::algorithm::{Digest, HashAlgorithm};
use aws_lc_rs::hmac;

/// Longest key that is derived here, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// The HMAC of a hash algorithm; SM3 has none here.
pub(super) fn hmac_algorithm(hash: HashAlgorithm) -> Option<hmac::Algorithm> {
    match hash {
        HashAlgorithm::Sha1 => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sha256 => Some(hmac::HMAC_SHA256),
        HashAlgorithm::Sha384 => Some(hmac::HMAC_SHA384),
        HashAlgorithm::Sha512 => Some(hmac::HMAC_SHA512),
        HashAlgorithm::Sm3_256 => None,
    }
}

/// KDFa: SP 800-108 in counter mode with HMAC. `bits` is a multiple of 8, at most 512.
///
/// `None` when the hash has no HMAC or `bits` is larger.
pub fn kdfa(hash: HashAlgorithm, key: &[u8], label: &str, context: &[u8], bits: u16) -> Option<Digest> {
    let key = hmac::Key::new(hmac_algorithm(hash)?, key);
    derive(bits, |counter| {
        let mut mac = hmac::Context::with_key(&key);
        for part in [&counter[..], label.as_bytes(), &[0], context, &u32::from(bits).to_be_bytes()] {
            mac.update(part);
        }
        Digest::from_slice(mac.sign().as_ref())
    })
}

/// KDFe: the concatenation key derivation of SP 800-56A. `bits` is a multiple of 8, at most 512.
///
/// `None` when `bits` is larger.
pub fn kdfe(hash: HashAlgorithm, z: &[u8], label: &str, party_u: &[u8], party_v: &[u8], bits: u16) -> Option<Digest> {
    derive(bits, |counter| hash.digest(&[&counter, z, label.as_bytes(), &[0], party_u, party_v]))
}

fn derive(bits: u16, block: impl Fn([u8; 4]) -> Digest) -> Option<Digest> {
    let len = usize::from(bits).div_ceil(8);
    if len > MAX_KEY_BYTES {
        return None;
    }
    let mut key = [0; MAX_KEY_BYTES];
    let mut filled = 0;
    let mut counter = 0_u32;
    while filled < len {
        counter += 1;
        let part = block(counter.to_be_bytes());
        let take = part.as_bytes().len().min(len - filled);
        key[filled..filled + take].copy_from_slice(&part.as_bytes()[..take]);
        filled += take;
    }
    Some(Digest::from_slice(&key[..len]))
}
