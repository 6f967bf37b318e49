//! The attestation key between two runs of the agent (`agent-api.md` §6): a JSON file that only fits the TPM it came from.

use keylime_engine::algorithm::HashAlgorithm;
use serde::{Deserialize, Serialize};

use crate::tpm::{SigningAlgorithm, StoredKey};

/// The file's content. Byte strings are arrays of numbers, as earlier agents wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentData {
    ak_hash_alg: String,
    ak_sign_alg: String,
    ak_public: Vec<u8>,
    ak_private: Vec<u8>,
    ek_hash: Vec<u8>,
}

/// Why a stored key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UnusableAgentData {
    /// The file is not what an agent writes.
    #[error("agent data is not readable: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Made for other algorithms.
    #[error("stored attestation key was made for other algorithms")]
    OtherAlgorithms,
    /// Made under another endorsement key.
    #[error("stored attestation key was made under another endorsement key")]
    OtherEndorsementKey,
}

impl AgentData {
    /// What to store for a key.
    #[must_use]
    pub fn new(key: &StoredKey, hash: HashAlgorithm, signing: SigningAlgorithm, ek_hash: &str) -> Self {
        Self {
            ak_hash_alg: hash_name(hash).to_owned(),
            ak_sign_alg: signing_name(signing).to_owned(),
            ak_public: key.public.clone(),
            ak_private: key.private.clone(),
            ek_hash: ek_hash.as_bytes().to_vec(),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None in practice; the serializer's signature has one.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// The key in a file, if it was made with these algorithms under this endorsement key.
    ///
    /// # Errors
    /// See [`UnusableAgentData`]; the agent then makes a new key.
    pub fn stored_key(
        json: &[u8],
        hash: HashAlgorithm,
        signing: SigningAlgorithm,
        ek_hash: &str,
    ) -> Result<StoredKey, UnusableAgentData> {
        let data: Self = serde_json::from_slice(json)?;
        if data.ak_hash_alg != hash_name(hash) || data.ak_sign_alg != signing_name(signing) {
            return Err(UnusableAgentData::OtherAlgorithms);
        }
        if data.ek_hash != ek_hash.as_bytes() {
            return Err(UnusableAgentData::OtherEndorsementKey);
        }
        Ok(StoredKey { public: data.ak_public, private: data.ak_private })
    }
}

const fn hash_name(hash: HashAlgorithm) -> &'static str {
    match hash {
        HashAlgorithm::Sha1 => "Sha1",
        HashAlgorithm::Sha256 => "Sha256",
        HashAlgorithm::Sha384 => "Sha384",
        HashAlgorithm::Sha512 => "Sha512",
        HashAlgorithm::Sm3_256 => "Sm3_256",
    }
}

const fn signing_name(signing: SigningAlgorithm) -> &'static str {
    match signing {
        SigningAlgorithm::RsaSsa => "RsaSsa",
        SigningAlgorithm::RsaPss => "RsaPss",
        SigningAlgorithm::EcDsa => "EcDsa",
        SigningAlgorithm::EcSchnorr => "EcSchnorr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_a_file_of_the_reference_agent() {
        let files: serde_json::Value = serde_json::from_str(include_str!("../tests/data/agent_files.json")).unwrap();
        let json = files["agent_data_json"].as_str().unwrap();
        let ek_hash = files["ek_hash_text"].as_str().unwrap();
        let key =
            AgentData::stored_key(json.as_bytes(), HashAlgorithm::Sha256, SigningAlgorithm::RsaSsa, ek_hash).unwrap();
        let again = AgentData::new(&key, HashAlgorithm::Sha256, SigningAlgorithm::RsaSsa, ek_hash);
        assert_eq!(String::from_utf8(again.to_json().unwrap()).unwrap(), json);

        let other = |hash, ek: &str| AgentData::stored_key(json.as_bytes(), hash, SigningAlgorithm::RsaSsa, ek);
        assert!(matches!(other(HashAlgorithm::Sha1, ek_hash), Err(UnusableAgentData::OtherAlgorithms)));
        assert!(matches!(other(HashAlgorithm::Sha256, "0"), Err(UnusableAgentData::OtherEndorsementKey)));
        assert!(AgentData::stored_key(b"{}", HashAlgorithm::Sha1, SigningAlgorithm::RsaSsa, "").is_err());
    }
}
