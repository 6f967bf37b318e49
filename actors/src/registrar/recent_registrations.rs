//! What a shard remembers of the rows that it wrote last.
//!
//! Only a hint that saves reading: every write is compared with the stored row, and a refusal is never based on it.

use crate::ports::RegistrationRecord;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is known of the stored row of one id.
#[derive(Debug, Clone)]
pub(super) enum Memory {
    /// Nothing.
    Unknown,
    /// The row, as this process wrote it.
    Row(Box<RegistrationRecord>),
}

/// The rows written last, bounded; the oldest is forgotten first.
#[derive(Default)]
pub(super) struct RecentRegistrations {
    rows: HashMap<Arc<str>, (u64, Box<RegistrationRecord>)>,
    order: VecDeque<(u64, Arc<str>)>,
    sequence: u64,
}

impl RecentRegistrations {
    /// Takes what is known out of memory; the task that works on the id puts the outcome back.
    pub(super) fn take(&mut self, agent_id: &str) -> Memory {
        self.rows.remove(agent_id).map_or(Memory::Unknown, |(_, row)| Memory::Row(row))
    }

    /// Keeps what a task learned.
    pub(super) fn remember(&mut self, agent_id: &Arc<str>, memory: Memory) {
        let Memory::Row(row) = memory else { return };
        self.sequence += 1;
        self.rows.insert(Arc::clone(agent_id), (self.sequence, row));
        self.order.push_back((self.sequence, Arc::clone(agent_id)));
        while self.order.len() > CAPACITY {
            let Some((sequence, id)) = self.order.pop_front() else { return };
            if self.rows.get(&id).is_some_and(|(kept, _)| *kept == sequence) {
                self.rows.remove(&id);
            }
        }
    }
}

/// Rows kept by one shard: the registrations that wait for their activation in a storm, about 3 KiB each.
const CAPACITY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_never_grows() {
        let mut recent = RecentRegistrations::default();
        for n in 0..CAPACITY * 3 {
            let id: Arc<str> = n.to_string().into();
            recent.remember(&id, Memory::Row(Box::default()));
        }
        assert_eq!(recent.rows.len(), CAPACITY);
        assert!(matches!(recent.take("0"), Memory::Unknown));
        assert!(matches!(recent.take(&(CAPACITY * 3 - 1).to_string()), Memory::Row(_)));
        assert!(recent.order.len() <= CAPACITY);
    }

    #[test]
    fn a_newer_row_survives_the_older_entry_of_its_id() {
        let mut recent = RecentRegistrations::default();
        let id: Arc<str> = "a".into();
        recent.remember(&id, Memory::Row(Box::default()));
        for n in 0..CAPACITY - 1 {
            recent.remember(&n.to_string().into(), Memory::Row(Box::default()));
        }
        recent.remember(&id, Memory::Row(Box::new(RegistrationRecord { regcount: 2, ..Default::default() })));
        assert!(matches!(recent.take("a"), Memory::Row(row) if row.regcount == 2));
    }
}
