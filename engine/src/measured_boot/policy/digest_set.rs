//! Allowed digests, by algorithm.

use super::reason::Reason;
use crate::algorithm::HashAlgorithm;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// For each algorithm, the digests that are allowed. One matching digest suffices, in whatever bank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestSet(BTreeMap<String, BTreeSet<String>>);

impl DigestSet {
    /// Adds a digest, lower-case hexadecimal.
    pub fn insert(&mut self, algorithm: &str, digest: &str) {
        self.0.entry(algorithm.to_owned()).or_default().insert(digest.to_owned());
    }

    /// The set with one digest.
    #[must_use]
    pub fn one(algorithm: &str, digest: &str) -> Self {
        let mut set = Self::default();
        set.insert(algorithm, digest);
        set
    }

    /// The digests of these bytes in all algorithms.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::default();
        for algorithm in HashAlgorithm::ALL {
            set.insert(algorithm.name(), &algorithm.digest(&[bytes]).to_hex());
        }
        set
    }

    /// Tests an event.
    ///
    /// # Errors
    /// None of its digests is allowed.
    pub fn check(&self, subject: &Value) -> Result<(), Reason> {
        let Value::Object(event) = subject else { return Err(Reason::new("is not a dict")) };
        let digests = event.get("Digests").ok_or_else(|| Reason::new("has no Digests"))?;
        let Value::Array(digests) = digests else { return Err(Reason::new("Digests is not a list")) };
        for (index, digest) in digests.iter().enumerate() {
            let (Some(algorithm), Some(value)) = (digest["AlgorithmId"].as_str(), digest["Digest"].as_str()) else {
                return Err(Reason::new(format!("Digests[{index}] is not a digest")));
            };
            if self.0.get(algorithm).is_some_and(|allowed| allowed.contains(value)) {
                return Ok(());
            }
        }
        Err(Reason::new(format!("has no digest approved by {}", self.described())))
    }

    fn described(&self) -> String {
        /// Most digests listed in a reason.
        const MAX_LISTED: usize = 16;
        let all = self
            .0
            .iter()
            .flat_map(|(algorithm, digests)| digests.iter().map(move |digest| format!("{algorithm}:{digest}")));
        let listed: Vec<String> = all.take(MAX_LISTED).collect();
        format!("{{{}}}", listed.join(", "))
    }
}
