//! Policies, read once per row and compiled once per content, shared by all agents that use them.

use crate::ports::{BootPolicyRecord, RuntimePolicyRecord, StoreError, VerifierStore};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;

/// The policies of one agent.
#[derive(Debug, Default)]
pub struct AgentPolicies {
    /// Its runtime policy.
    pub runtime: Option<RuntimePolicyRecord>,
    /// Its boot policy.
    pub boot: Option<BootPolicyRecord>,
}

/// Rows of the policies of an agent.
pub type PolicyIds = (Option<i32>, Option<i32>);

type Slot = Arc<OnceCell<Arc<AgentPolicies>>>;

/// The cache. [`PolicyCache::epoch`] grows with every change of a policy; policies resolved in an older epoch are resolved
/// again before they are used.
pub struct PolicyCache {
    store: Arc<dyn VerifierStore>,
    epoch: AtomicU64,
    pairs: Mutex<HashMap<PolicyIds, Slot>>,
}

impl PolicyCache {
    /// An empty cache.
    #[must_use]
    pub fn new(store: Arc<dyn VerifierStore>) -> Self {
        Self { store, epoch: AtomicU64::new(1), pairs: Mutex::default() }
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// To be called after a policy was changed in the database.
    pub fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.pairs.lock().clear();
    }

    /// The policies with these ids; concurrent callers share one read.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn get(&self, ids: PolicyIds) -> Result<Arc<AgentPolicies>, StoreError> {
        let slot = Arc::clone(self.pairs.lock().entry(ids).or_default());
        slot.get_or_try_init(|| self.load(ids)).await.cloned()
    }

    async fn load(&self, (runtime, boot): PolicyIds) -> Result<Arc<AgentPolicies>, StoreError> {
        let runtime = match runtime {
            Some(id) => self.store.runtime_policy_by_id(id).await?,
            None => None,
        };
        let boot = match boot {
            Some(id) => self.store.boot_policy_by_id(id).await?,
            None => None,
        };
        Ok(Arc::new(AgentPolicies { runtime, boot }))
    }
}
