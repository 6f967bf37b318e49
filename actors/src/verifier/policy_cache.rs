//! Policies: each row is read once, each content compiled once, and all agents that use it share the result.

use crate::ports::{BootPolicyRecord, RuntimePolicyRecord, StoreError, VerifierStore};
use crate::runtime::cpu_pool::CpuPool;
use keylime_engine::policy::CompiledRuntimePolicy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::OnceCell;

/// The policies of one agent.
#[derive(Debug)]
pub struct AgentPolicies {
    /// Its runtime policy.
    pub runtime: RuntimeRules,
    /// Whether the runtime policy is one the tenant supplied (`generator` above 1).
    pub has_runtime_policy: bool,
    /// Its boot policy.
    pub boot: BootRules,
    /// Whether it has a boot policy text, be it empty.
    pub has_boot_policy: bool,
}

/// A boot policy ready for use.
#[derive(Debug, Clone)]
pub enum BootRules {
    /// There is none: boot logs are not judged.
    None,
    /// The stored text cannot be judged by; the text says why. No agent passes without it.
    Unusable(Arc<str>),
}

/// A runtime policy ready for use.
#[derive(Debug, Clone)]
pub enum RuntimeRules {
    /// Compiled.
    Compiled(Arc<CompiledRuntimePolicy>),
    /// The stored text is no policy; the text says why. No agent is judged by anything else in its place.
    Unusable(Arc<str>),
}

/// Rows of the policies of an agent.
pub type PolicyIds = (Option<i32>, Option<i32>);

type Slot = Arc<OnceCell<Arc<AgentPolicies>>>;

/// The cache. [`PolicyCache::epoch`] grows with every change of a policy; policies resolved in an older epoch are resolved
/// again before they are used.
pub struct PolicyCache {
    store: Arc<dyn VerifierStore>,
    pool: CpuPool,
    epoch: AtomicU64,
    pairs: Mutex<HashMap<PolicyIds, Slot>>,
    /// By checksum of the text; alive as long as an agent uses it.
    compiled: Mutex<HashMap<Box<str>, Weak<CompiledRuntimePolicy>>>,
}

impl PolicyCache {
    /// An empty cache that compiles in `pool`.
    #[must_use]
    pub fn new(store: Arc<dyn VerifierStore>, pool: CpuPool) -> Self {
        Self { store, pool, epoch: AtomicU64::new(1), pairs: Mutex::default(), compiled: Mutex::default() }
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

    /// The policies with these ids; concurrent callers share one read and one compilation.
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
        let has_boot_policy = boot.as_ref().is_some_and(|policy| policy.text.is_some());
        let has_runtime_policy = runtime.as_ref().is_some_and(|policy| policy.generator > EMPTY_POLICY);
        Ok(Arc::new(AgentPolicies {
            runtime: self.compile(runtime).await?,
            has_runtime_policy,
            boot: boot_rules(boot),
            has_boot_policy,
        }))
    }

    async fn compile(&self, policy: Option<RuntimePolicyRecord>) -> Result<RuntimeRules, StoreError> {
        let Some(RuntimePolicyRecord { text: Some(text), checksum, name, .. }) = policy else {
            return Ok(RuntimeRules::Compiled(Arc::new(CompiledRuntimePolicy::empty())));
        };
        // A row without checksum was not written by a verifier that computes it; its text is compiled for it alone.
        let known = self.compiled.lock().get(&*checksum).filter(|_| !checksum.is_empty()).and_then(Weak::upgrade);
        if let Some(compiled) = known {
            return Ok(RuntimeRules::Compiled(compiled));
        }
        let outcome = self.pool.run(move || CompiledRuntimePolicy::compile(&text)).await;
        match outcome {
            Ok(Ok(compiled)) => {
                let compiled = Arc::new(compiled);
                let mut known = self.compiled.lock();
                known.retain(|_, policy| policy.strong_count() > 0);
                known.insert(checksum.into(), Arc::downgrade(&compiled));
                Ok(RuntimeRules::Compiled(compiled))
            }
            Ok(Err(error)) => {
                tracing::error!(target: "keylime.verifier", policy = ?name, %error, "stored runtime policy is unusable");
                Ok(RuntimeRules::Unusable(error.to_string().into()))
            }
            Err(panic) => Err(StoreError::Internal(format!("runtime policy {name:?} cannot be compiled: {panic}"))),
        }
    }
}

/// Boot policies that demand nothing: no text, or an empty object (`measured-boot.md` §6).
fn boot_rules(policy: Option<BootPolicyRecord>) -> BootRules {
    let text = policy.and_then(|policy| policy.text).unwrap_or_default();
    match text.trim() {
        "" | "{}" => BootRules::None,
        _ => BootRules::Unusable("measured boot is not appraised by this verifier".into()),
    }
}

/// `generator` of the policy that stands for none.
const EMPTY_POLICY: i32 = 1;
