//! A registrar store in memory, for tests, benches and demonstrations; it keeps the compare-and-write rule of the real ones.

use crate::ports::{RegistrarStore, RegistrationOutcome, RegistrationRecord, StoreError};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Registrations by agent id.
#[derive(Default)]
pub struct MemoryRegistrarStore {
    rows: Mutex<BTreeMap<String, RegistrationRecord>>,
    away: AtomicBool,
    reads: AtomicUsize,
    commits: AtomicUsize,
}

impl MemoryRegistrarStore {
    /// Lets every call fail (or work again), like a database that is away.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Stores a row as another process would.
    pub fn put(&self, record: RegistrationRecord) {
        self.rows.lock().insert(record.agent_id.clone(), record);
    }

    /// How many single rows were read.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many transactions were committed.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("switched off".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl RegistrarStore for MemoryRegistrarStore {
    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError> {
        self.check()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.rows.lock().get(agent_id).cloned())
    }

    async fn registration_ids(&self) -> Result<Vec<String>, StoreError> {
        self.check()?;
        Ok(self.rows.lock().keys().cloned().collect())
    }

    async fn register(
        &self,
        batch: Vec<(Option<RegistrationRecord>, RegistrationRecord)>,
    ) -> Result<Vec<RegistrationOutcome>, StoreError> {
        self.check()?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut rows = self.rows.lock();
        Ok(batch
            .into_iter()
            .map(|(seen, record)| {
                if rows.get(&record.agent_id).map(identity) != seen.as_ref().map(identity) {
                    return RegistrationOutcome::Conflict;
                }
                rows.insert(record.agent_id.clone(), record);
                RegistrationOutcome::Written
            })
            .collect())
    }

    async fn delete(&self, agent_ids: Vec<String>) -> Result<Vec<bool>, StoreError> {
        self.check()?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut rows = self.rows.lock();
        Ok(agent_ids.iter().map(|id| rows.remove(id).is_some()).collect())
    }
}

type Identity<'r> = (&'r Option<String>, &'r Option<String>, &'r Option<String>, i32);

fn identity(record: &RegistrationRecord) -> Identity<'_> {
    (&record.ek_tpm, &record.ekcert, &record.aik_tpm, record.regcount)
}
