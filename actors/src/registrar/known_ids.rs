//! Which ids may have a row: saves the reading that a first registration would otherwise need.
//!
//! Only a hint. An id that another process registered is missing here; its registration is then decided as a first one,
//! refused by the database's comparison, and decided again on what is stored.

use parking_lot::RwLock;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// Hashes of ids, once they are loaded.
#[derive(Default)]
pub(super) struct KnownIds {
    hasher: RandomState,
    ids: RwLock<Option<HashSet<u64>>>,
}

impl KnownIds {
    /// Takes the ids of all stored rows. One that was registered while they were being read may be missing, like those of
    /// other processes.
    pub(super) fn load(&self, stored: &[String]) {
        let ids = stored.iter().map(|id| self.hasher.hash_one(id.as_str())).collect();
        *self.ids.write() = Some(ids);
    }

    /// Whether this process knows of no row.
    pub(super) fn is_new(&self, agent_id: &str) -> bool {
        let hash = self.hasher.hash_one(agent_id);
        self.ids.read().as_ref().is_some_and(|ids| !ids.contains(&hash))
    }

    /// A row was written.
    pub(super) fn add(&self, agent_id: &str) {
        let hash = self.hasher.hash_one(agent_id);
        if let Some(ids) = self.ids.write().as_mut() {
            ids.insert(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_new_before_the_ids_are_loaded() {
        let known = KnownIds::default();
        known.add("a");
        assert!(!known.is_new("b"));
        known.load(&["a".to_owned()]);
        assert!(!known.is_new("a"));
        assert!(known.is_new("b"));
        known.add("b");
        assert!(!known.is_new("b"));
    }
}
