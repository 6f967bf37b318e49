//! Joining the shares of the bootstrap key: U from the tenant, V from the verifier, K = U xor V (`agent-api.md` §3).
//!
//! Shares may arrive in any order and repeatedly; only the pair whose key proves itself by the tenant's authentication tag
//! is taken, so a wrong share costs nothing but its place in a bounded list.

use std::collections::VecDeque;

use aws_lc_rs::hmac;

/// Length of an HMAC-SHA384, in bytes.
pub const AUTH_TAG_BYTES: usize = 48;
/// Shares of one kind that may wait for their counterpart; the oldest goes first.
const MAX_WAITING: usize = 16;

/// A key or share of 16 or 32 bytes. It has no textual form, so it cannot enter a log.
#[derive(Clone, PartialEq, Eq)]
pub struct SymmetricKey(Vec<u8>);

/// Bytes of a length no AES key of Keylime has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid AES key size: {0}")]
pub struct InvalidKeySize(pub usize);

impl SymmetricKey {
    /// Takes 16 or 32 bytes.
    ///
    /// # Errors
    /// [`InvalidKeySize`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidKeySize> {
        match bytes.len() {
            16 | 32 => Ok(Self(bytes)),
            other => Err(InvalidKeySize(other)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// HMAC-SHA384 of `data` under this key.
    #[must_use]
    pub fn hmac(&self, data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, &self.0), data).as_ref().to_vec()
    }

    fn proves(&self, data: &[u8], tag: &[u8; AUTH_TAG_BYTES]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA384, &self.0), data, tag).is_ok()
    }

    fn xor(&self, other: &Self) -> Option<Self> {
        (self.0.len() == other.0.len()).then(|| Self(self.0.iter().zip(&other.0).map(|(a, b)| a ^ b).collect()))
    }
}

/// The tenant's share with what came along.
#[derive(Clone)]
pub struct TenantShare {
    /// U.
    pub share: SymmetricKey,
    /// HMAC-SHA384 of the agent id under K.
    pub auth_tag: [u8; AUTH_TAG_BYTES],
    /// The encrypted payload in base64.
    pub payload: Option<String>,
}

/// A key that proved itself, with the payload that came with its U.
pub struct Derived {
    /// K.
    pub key: SymmetricKey,
    /// The encrypted payload in base64.
    pub payload: Option<String>,
}

/// The shares received so far and the key joined from them.
pub struct KeyDerivation {
    agent_id: String,
    tenant_shares: VecDeque<TenantShare>,
    verifier_shares: VecDeque<SymmetricKey>,
    key: Option<SymmetricKey>,
}

impl KeyDerivation {
    /// No shares, no key.
    #[must_use]
    pub fn new(agent_id: &str) -> Self {
        Self {
            agent_id: agent_id.to_owned(),
            tenant_shares: VecDeque::new(),
            verifier_shares: VecDeque::new(),
            key: None,
        }
    }

    /// The key joined last.
    #[must_use]
    pub fn key(&self) -> Option<&SymmetricKey> {
        self.key.as_ref()
    }

    /// Takes a U; answers the key if it fits a V received before.
    pub fn add_tenant_share(&mut self, share: TenantShare) -> Option<Derived> {
        push_bounded(&mut self.tenant_shares, share);
        self.join()
    }

    /// Takes a V; answers the key if it fits a U received before.
    pub fn add_verifier_share(&mut self, share: SymmetricKey) -> Option<Derived> {
        push_bounded(&mut self.verifier_shares, share);
        self.join()
    }

    fn join(&mut self) -> Option<Derived> {
        let id = self.agent_id.as_bytes();
        let pairs = self.tenant_shares.iter().flat_map(|u| self.verifier_shares.iter().map(move |v| (u, v)));
        let (key, payload) = pairs
            .filter_map(|(u, v)| Some((u.share.xor(v)?, u)))
            .find(|(key, u)| key.proves(id, &u.auth_tag))
            .map(|(key, u)| (key, u.payload.clone()))?;
        self.tenant_shares.clear();
        self.verifier_shares.clear();
        self.key = Some(key.clone());
        Some(Derived { key, payload })
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == MAX_WAITING {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed {
        id: String,
        k: Vec<u8>,
        u: SymmetricKey,
        v: SymmetricKey,
        tag: [u8; AUTH_TAG_BYTES],
        challenge: String,
        challenge_hmac: String,
    }

    fn fixed() -> Fixed {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/data/payload.json")).unwrap();
        let fixed = &vectors["fixed"];
        let text = |name: &str| fixed[name].as_str().unwrap().to_owned();
        let bytes = |name: &str| hex::decode(text(name)).unwrap();
        Fixed {
            id: text("agent_id"),
            k: bytes("k_hex"),
            u: SymmetricKey::new(bytes("u_hex")).unwrap(),
            v: SymmetricKey::new(bytes("v_hex")).unwrap(),
            tag: bytes("auth_tag").try_into().unwrap(),
            challenge: text("challenge"),
            challenge_hmac: text("challenge_hmac"),
        }
    }

    fn share(fixed: &Fixed) -> TenantShare {
        TenantShare { share: fixed.u.clone(), auth_tag: fixed.tag, payload: Some("payload".to_owned()) }
    }

    #[test]
    fn either_order_gives_the_key_and_its_payload() {
        let fixed = fixed();
        let mut first = KeyDerivation::new(&fixed.id);
        assert!(first.add_tenant_share(share(&fixed)).is_none());
        let derived = first.add_verifier_share(fixed.v.clone()).unwrap();
        assert_eq!((derived.key.as_bytes(), derived.payload), (&fixed.k[..], Some("payload".to_owned())));
        assert_eq!(hex::encode(first.key().unwrap().hmac(fixed.challenge.as_bytes())), fixed.challenge_hmac);

        let mut second = KeyDerivation::new(&fixed.id);
        assert!(second.add_verifier_share(SymmetricKey::new(vec![7; 16]).unwrap()).is_none());
        assert!(second.add_verifier_share(fixed.v.clone()).is_none());
        assert!(second.add_tenant_share(share(&fixed)).is_some());
    }

    #[test]
    fn nothing_is_joined_for_another_agent_or_share() {
        let fixed = fixed();
        let mut other = KeyDerivation::new("another");
        other.add_tenant_share(share(&fixed));
        assert!(other.add_verifier_share(fixed.v.clone()).is_none());
        let mut wrong = KeyDerivation::new(&fixed.id);
        wrong.add_tenant_share(share(&fixed));
        assert!(wrong.add_verifier_share(SymmetricKey::new(vec![0; 32]).unwrap()).is_none());
        assert!(wrong.key().is_none());
    }

    #[test]
    fn waiting_shares_are_bounded() {
        let fixed = fixed();
        let mut derivation = KeyDerivation::new(&fixed.id);
        for byte in 0..100 {
            derivation.add_verifier_share(SymmetricKey::new(vec![byte; 32]).unwrap());
        }
        assert_eq!(derivation.verifier_shares.len(), MAX_WAITING);
        assert_eq!(SymmetricKey::new(vec![0; 24]).err(), Some(InvalidKeySize(24)));
    }
}
