//! The payload key K of an agent, which exists only where both of its shares arrive (`agent-api.md` §3).
//!
//! The tenant gives the share U to the agent and the share V to the verifier, which passes it on after the first good
//! attestation. Agents that prove knowledge of K by an HMAC have got both.

use aws_lc_rs::{constant_time, hmac};

/// Length of K, U and V, in bytes.
pub const KEY_BYTES: usize = 32;

/// A payload key and its two shares.
#[derive(Clone, PartialEq, Eq)]
pub struct PayloadKey {
    /// The key; agents also take one of 16 bytes.
    k: Vec<u8>,
    /// The tenant's share.
    u: Vec<u8>,
    /// The verifier's share.
    v: Vec<u8>,
}

/// Why three values are not a key and its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayloadKey {
    /// A value is neither 16 nor 32 bytes long, or the lengths differ.
    #[error("payload key and its shares must be 16 or 32 bytes long, all alike")]
    Length,
    /// The shares do not add up to the key.
    #[error("the shares do not add up to the payload key")]
    Shares,
}

impl PayloadKey {
    /// A key split with a random share; both arguments come from a random generator.
    #[must_use]
    pub fn split(k: [u8; KEY_BYTES], v: [u8; KEY_BYTES]) -> Self {
        let u = k.iter().zip(v).map(|(k, v)| k ^ v).collect();
        Self { k: k.to_vec(), u, v: v.to_vec() }
    }

    /// A key that was split before. The shares are alike: which is which does not matter to the sum.
    ///
    /// # Errors
    /// See [`InvalidPayloadKey`].
    pub fn from_parts(k: Vec<u8>, u: Vec<u8>, v: Vec<u8>) -> Result<Self, InvalidPayloadKey> {
        if !matches!(k.len(), 16 | KEY_BYTES) || u.len() != k.len() || v.len() != k.len() {
            return Err(InvalidPayloadKey::Length);
        }
        let adds_up = k.iter().zip(&u).zip(&v).all(|((k, u), v)| k ^ u ^ v == 0);
        if adds_up { Ok(Self { k, u, v }) } else { Err(InvalidPayloadKey::Shares) }
    }

    /// The key.
    #[must_use]
    pub fn k(&self) -> &[u8] {
        &self.k
    }

    /// The tenant's share.
    #[must_use]
    pub fn u(&self) -> &[u8] {
        &self.u
    }

    /// The verifier's share.
    #[must_use]
    pub fn v(&self) -> &[u8] {
        &self.v
    }
}

impl std::fmt::Debug for PayloadKey {
    /// Shows the length only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PayloadKey({} bytes)", self.k.len())
    }
}

/// HMAC-SHA384 under K in lower-case hexadecimal: of the agent's id it is the tag that comes with the share U, of a
/// challenge it is the agent's proof.
#[must_use]
pub fn tag(k: &[u8], text: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, k), text.as_bytes()))
}

/// Whether an agent's answer to a challenge proves that it has derived K; takes the same time for every wrong answer of
/// the right length.
#[must_use]
pub fn proves_derivation(k: &[u8], challenge: &str, proof: &str) -> bool {
    constant_time::verify_slices_are_equal(tag(k, challenge).as_bytes(), proof.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // wire/payload.json, "fixed".
    const K: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const V: &str = "6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283";
    const U: &str = "646464646c6c6c6c646464647c7c7c7c646464646c6c6c6c646464649c9c9c9c";

    fn bytes(text: &str) -> [u8; KEY_BYTES] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn splits_as_the_reference_does() {
        let key = PayloadKey::split(bytes(K), bytes(V));
        assert_eq!(hex::encode(key.u()), U);
        let read = PayloadKey::from_parts(bytes(K).to_vec(), bytes(V).to_vec(), bytes(U).to_vec()).unwrap();
        assert_eq!((read.k(), read.u(), read.v()), (key.k(), key.v(), key.u()));
        let wrong = PayloadKey::from_parts(bytes(K).to_vec(), bytes(V).to_vec(), bytes(V).to_vec());
        assert_eq!(wrong, Err(InvalidPayloadKey::Shares));
        assert_eq!(PayloadKey::from_parts(vec![1], vec![0], vec![1]), Err(InvalidPayloadKey::Length));
        assert_eq!(format!("{key:?}"), "PayloadKey(32 bytes)");
    }

    #[test]
    fn tags_and_proofs_match_the_captured_ones() {
        let id = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";
        let expected =
            "74216909e21c5a1a5fb9e0ad23881f6f1693d01b5469c4d12dfe4ea151ab3334690966790c8e3b4a358b1be3ca443e2d";
        assert_eq!(tag(&bytes(K), id), expected);
        let proof = "43d857a74942cfd63a4aafb043877027fc0b80b9be128b53f63d49b82d023615e42510fae97d611806debf13e22a5a67";
        assert!(proves_derivation(&bytes(K), "abcdefghij0123456789", proof));
        for wrong in ["", &proof[1..], &proof.replace('4', "5")] {
            assert!(!proves_derivation(&bytes(K), "abcdefghij0123456789", wrong));
        }
    }
}
