//! Policies: each row is read once, each content compiled once, and all agents that use it share the result.

use crate::ports::{BootPolicyRecord, RuntimePolicyRecord, StoreError, VerifierStore};
use crate::runtime::cpu_pool::CpuPool;
use keylime_engine::evidence::requirements::Demand;
use keylime_engine::policy::CompiledRuntimePolicy;
use parking_lot::Mutex;
use std::collections::HashMap;
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
    /// Whether push agents send their boot log: the boot policy has a text, be it one that demands nothing.
    pub boot_log: Demand,
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

/// What two agents' policies must have in common to be kept once, whatever rows they come from: Keylime stores a row of its
/// own for every agent that is enrolled without naming a policy.
type Content = (Box<str>, bool, bool, Demand);

/// The cache. It holds no policy that no agent uses, apart from the rows read last.
pub struct PolicyCache {
    store: Arc<dyn VerifierStore>,
    pool: CpuPool,
    rows: Mutex<HashMap<PolicyIds, Slot>>,
    shared: Mutex<HashMap<Content, Weak<AgentPolicies>>>,
    /// By checksum of the text.
    compiled: Mutex<HashMap<Box<str>, Weak<CompiledRuntimePolicy>>>,
}

impl PolicyCache {
    /// An empty cache that compiles in `pool`.
    #[must_use]
    pub fn new(store: Arc<dyn VerifierStore>, pool: CpuPool) -> Self {
        Self { store, pool, rows: Mutex::default(), shared: Mutex::default(), compiled: Mutex::default() }
    }

    /// To be called after a policy was changed in the database; whoever holds its policies has to be told apart from this.
    pub fn changed(&self) {
        self.rows.lock().clear();
    }

    /// The policies with these ids; concurrent callers share one read and one compilation.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn get(&self, ids: PolicyIds) -> Result<Arc<AgentPolicies>, StoreError> {
        let slot = {
            let mut rows = self.rows.lock();
            if rows.len() >= MAX_ROWS && !rows.contains_key(&ids) {
                rows.clear();
            }
            Arc::clone(rows.entry(ids).or_default())
        };
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
        let boot_log = boot.as_ref().and_then(|policy| policy.text.as_ref()).is_some_and(|text| !text.is_empty());
        let boot_log = Demand::when(boot_log);
        let boot = boot_rules(boot);
        let content = match (&runtime, &boot) {
            (Some(RuntimePolicyRecord { text: Some(_), checksum, .. }), BootRules::None) if !checksum.is_empty() => {
                Some((checksum.as_str().into(), has_runtime_policy, has_boot_policy, boot_log))
            }
            (None | Some(RuntimePolicyRecord { text: None, .. }), BootRules::None) => {
                Some(("".into(), has_runtime_policy, has_boot_policy, boot_log))
            }
            _ => None,
        };
        if let Some(known) = content.as_ref().and_then(|content| self.shared.lock().get(content)?.upgrade()) {
            return Ok(known);
        }
        let runtime = self.compile(runtime).await?;
        let policies = Arc::new(AgentPolicies { runtime, has_runtime_policy, boot, has_boot_policy, boot_log });
        if let Some(content) = content {
            let mut shared = self.shared.lock();
            shared.retain(|_, policies| policies.strong_count() > 0);
            shared.insert(content, Arc::downgrade(&policies));
        }
        Ok(policies)
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

/// Most rows remembered; a fleet with a policy of its own for every agent reads each of them once, when it is first needed.
const MAX_ROWS: usize = 1024;
/// `generator` of the policy that stands for none.
const EMPTY_POLICY: i32 = 1;
