//! What many agents have in common is kept once: compiled `tpm_policy` texts and accept lists.

use crate::ports::AgentRecord;
use crate::verifier::agent_key::KeyRetention;
use keylime_engine::lifecycle::QuoteAlgorithms;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// A compiled PCR policy with the mask as its text writes it, which is how agents are asked.
#[derive(Debug)]
pub struct SharedTpmPolicy {
    /// The policy.
    pub policy: TpmPolicy,
    /// Its mask; empty when it names none that can be asked with.
    pub mask: Box<str>,
}

/// The algorithm names the operator accepts of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcceptLists {
    /// `accept_tpm_hash_algs`.
    pub hash: Vec<String>,
    /// `accept_tpm_encryption_algs`.
    pub enc: Vec<String>,
    /// `accept_tpm_signing_algs`.
    pub sign: Vec<String>,
}

/// The collection; entries live as long as an agent uses them.
#[derive(Debug)]
pub struct SharedTerms {
    key_retention: KeyRetention,
    tpm_policies: Mutex<HashMap<Box<str>, Weak<SharedTpmPolicy>>>,
    accept_lists: Mutex<HashMap<AcceptLists, Weak<AcceptLists>>>,
    algorithms: Mutex<HashSet<Arc<QuoteAlgorithms>>>,
}

impl SharedTerms {
    /// An empty collection for agents whose keys are kept in this form.
    #[must_use]
    pub fn new(key_retention: KeyRetention) -> Self {
        Self {
            key_retention,
            tpm_policies: Mutex::default(),
            accept_lists: Mutex::default(),
            algorithms: Mutex::default(),
        }
    }

    /// The form attestation keys are kept in.
    #[must_use]
    pub fn key_retention(&self) -> KeyRetention {
        self.key_retention
    }

    /// The compiled form of a `tpm_policy` text.
    ///
    /// # Errors
    /// The text is no policy, or names no mask; the text says which.
    pub fn tpm_policy(&self, text: &str) -> Result<Arc<SharedTpmPolicy>, String> {
        let policy = self.unmasked_tpm_policy(text)?;
        if policy.mask.is_empty() { Err("tpm_policy has no usable mask".to_owned()) } else { Ok(policy) }
    }

    /// The compiled form of a `tpm_policy` text that need not name a mask: push agents are not asked with one.
    ///
    /// # Errors
    /// The text is no policy.
    pub fn unmasked_tpm_policy(&self, text: &str) -> Result<Arc<SharedTpmPolicy>, String> {
        if let Some(known) = self.tpm_policies.lock().get(text).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let policy = TpmPolicy::parse(text).map_err(|error| error.to_string())?;
        let mask = policy.mask().and_then(|_| mask_text(text)).unwrap_or_default();
        let compiled = Arc::new(SharedTpmPolicy { policy, mask });
        let mut known = self.tpm_policies.lock();
        prune(&mut known);
        known.insert(text.into(), Arc::downgrade(&compiled));
        Ok(compiled)
    }

    /// The accept lists of a row.
    pub fn accept_lists(&self, record: &AgentRecord) -> Arc<AcceptLists> {
        let lists = AcceptLists {
            hash: record.accept_tpm_hash_algs.clone(),
            enc: record.accept_tpm_encryption_algs.clone(),
            sign: record.accept_tpm_signing_algs.clone(),
        };
        let mut known = self.accept_lists.lock();
        if let Some(known) = known.get(&lists).and_then(Weak::upgrade) {
            return known;
        }
        prune(&mut known);
        let shared = Arc::new(lists.clone());
        known.insert(lists, Arc::downgrade(&shared));
        shared
    }
}

impl SharedTerms {
    /// Replaces an allocation of one agent's own by the one that all agents with the same algorithms share.
    pub fn share_algorithms(&self, algorithms: &mut Arc<QuoteAlgorithms>) {
        // One that is shared already has other owners.
        if Arc::strong_count(algorithms) > 1 {
            return;
        }
        let mut known = self.algorithms.lock();
        if let Some(shared) = known.get(&**algorithms) {
            *algorithms = Arc::clone(shared);
        } else if known.len() < MAX_ALGORITHM_SETS {
            known.insert(Arc::clone(algorithms));
        }
    }
}

/// Agents choose these names within the operator's accept lists; a fleet has a handful of combinations.
const MAX_ALGORITHM_SETS: usize = 256;

/// Drops entries that no agent uses, now and then.
fn prune<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, Weak<V>>) {
    if known.len() == known.capacity() {
        known.retain(|_, entry| entry.strong_count() > 0);
    }
}

/// The mask goes into a URL: anything but a plain number is refused.
fn mask_text(policy: &str) -> Option<Box<str>> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let mask = policy.get("mask")?.as_str()?;
    let is_plain = !mask.is_empty() && mask.len() <= 16 && mask.bytes().all(|b| b.is_ascii_alphanumeric());
    is_plain.then(|| mask.into())
}
