//! Policies: each row is read once, each content compiled once, and all agents that use it share the result.

use crate::ports::{BootPolicyRecord, EMPTY_POLICY, RuntimePolicyRecord, StatedPolicies, StoreError, VerifierStore};
use crate::runtime::cpu_pool::CpuPool;
use keylime_engine::evidence::requirements::Demand;
use keylime_engine::measured_boot::{BootPolicies, CompiledBootPolicy};
use keylime_engine::policy::CompiledRuntimePolicy;
use keylime_engine::policy::runtime_policy::checksum;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
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
    pub boot: Arc<CompiledBootPolicy>,
    /// Whether it has a boot policy text, be it empty.
    pub has_boot_policy: bool,
    /// Whether push agents send their boot log: the boot policy has a text, be it one that demands nothing.
    pub boot_log: Demand,
}

/// A runtime policy ready for use.
#[derive(Debug, Clone)]
pub enum RuntimeRules {
    /// Compiled.
    Compiled(Arc<CompiledRuntimePolicy>),
    /// The stored text is no policy; the text says why. No agent is judged by anything else in its place.
    Unusable(Arc<str>),
}

impl RuntimeRules {
    /// The policy to judge by.
    ///
    /// # Errors
    /// There is none; the text says why, and whoever is judged by it does not pass.
    pub fn usable(&self) -> Result<&CompiledRuntimePolicy, String> {
        match self {
            Self::Compiled(policy) => Ok(policy),
            Self::Unusable(reason) => Err(format!("the runtime policy is unusable: {reason}")),
        }
    }
}

/// Rows of the policies of an agent.
pub type PolicyIds = (Option<i32>, Option<i32>);

type Slot = Arc<OnceCell<Arc<AgentPolicies>>>;

/// What two agents' policies must have in common to be kept once, whatever rows they come from: Keylime stores a row of its
/// own for every agent that is enrolled without naming a policy. Checksum of the runtime policy, digest of the boot policy,
/// whether there is either, whether a boot log is sent.
type Content = (Box<str>, Option<Box<str>>, bool, bool, Demand);

/// The cache. It holds no policy that no agent uses, apart from the rows read last.
pub struct PolicyCache {
    store: Arc<dyn VerifierStore>,
    pool: CpuPool,
    rows: Mutex<HashMap<PolicyIds, Slot>>,
    shared: Mutex<HashMap<Content, Weak<AgentPolicies>>>,
    /// By checksum of the text.
    compiled: Mutex<HashMap<Box<str>, Weak<CompiledRuntimePolicy>>>,
    boot_policies: BootPolicies,
    /// By digest of the text; none stands for no text.
    compiled_boot: Mutex<HashMap<Option<Box<str>>, Weak<CompiledBootPolicy>>>,
}

impl PolicyCache {
    /// An empty cache that compiles in `pool`, boot policies for the one the operator chose.
    #[must_use]
    pub fn new(store: Arc<dyn VerifierStore>, pool: CpuPool, boot_policies: BootPolicies) -> Self {
        Self {
            store,
            pool,
            rows: Mutex::default(),
            shared: Mutex::default(),
            compiled: Mutex::default(),
            boot_policies,
            compiled_boot: Mutex::default(),
        }
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

    /// Which of the policies of these agents say anything; none is read or compiled for it.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn stated(&self, of: impl Iterator<Item = PolicyIds>) -> Result<StatedPolicies, StoreError> {
        let mut stated = StatedPolicies::default();
        let (mut runtime, mut boot) = (HashSet::new(), HashSet::new());
        {
            let rows = self.rows.lock();
            for ids in of {
                match rows.get(&ids).and_then(|slot| slot.get()) {
                    Some(known) => {
                        stated.runtime.extend(ids.0.filter(|_| known.has_runtime_policy));
                        stated.boot.extend(ids.1.filter(|_| known.has_boot_policy));
                    }
                    None => {
                        runtime.extend(ids.0);
                        boot.extend(ids.1);
                    }
                }
            }
        }
        if !(runtime.is_empty() && boot.is_empty()) {
            let (runtime, boot) = (Vec::from_iter(runtime), Vec::from_iter(boot));
            let read = self.store.stated_policies(&runtime, &boot).await?;
            stated.runtime.extend(read.runtime);
            stated.boot.extend(read.boot);
        }
        Ok(stated)
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
        let (boot, boot_digest) = self.compile_boot(boot).await?;
        let content = match &runtime {
            Some(RuntimePolicyRecord { text: Some(_), checksum, .. }) if checksum.is_empty() => None,
            Some(RuntimePolicyRecord { text: Some(_), checksum, .. }) => Some(checksum.as_str().into()),
            None | Some(RuntimePolicyRecord { text: None, .. }) => Some("".into()),
        };
        let content = content.map(|checksum| (checksum, boot_digest, has_runtime_policy, has_boot_policy, boot_log));
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

    /// The boot policy of a row with the digest of its text; a row without text or with an empty one has none.
    async fn compile_boot(
        &self,
        policy: Option<BootPolicyRecord>,
    ) -> Result<(Arc<CompiledBootPolicy>, Option<Box<str>>), StoreError> {
        let name = policy.as_ref().map(|policy| policy.name.clone()).unwrap_or_default();
        let text = policy.and_then(|policy| policy.text).filter(|text| !text.is_empty());
        let digest: Option<Box<str>> = text.as_ref().map(|text| checksum(text.as_bytes()).into());
        let known = self.compiled_boot.lock().get(&digest).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok((known, digest));
        }
        let policies = self.boot_policies.clone();
        let compiled = self.pool.run(move || policies.compile(text.as_deref())).await;
        let compiled = compiled
            .map_err(|panic| StoreError::Internal(format!("boot policy {name:?} cannot be compiled: {panic}")))?;
        if compiled.is_invalid() {
            tracing::error!(target: "keylime.verifier", policy = ?name, "stored boot policy is no JSON: no agent passes with it");
        }
        if let Some(defect) = compiled.defect() {
            tracing::error!(target: "keylime.verifier", policy = ?name, defect, "stored boot policy rejects every log");
        }
        let compiled = Arc::new(compiled);
        let mut known = self.compiled_boot.lock();
        known.retain(|_, policy| policy.strong_count() > 0);
        known.insert(digest.clone(), Arc::downgrade(&compiled));
        Ok((compiled, digest))
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
                if let Some(bad) = compiled.bad_exclude() {
                    tracing::warn!(target: "keylime.verifier", policy = ?name, pattern = bad.pattern, reason = bad.reason,
                        "stored runtime policy excludes nothing: its exclude list does not compile");
                }
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

/// Most rows remembered; a fleet with a policy of its own for every agent reads each of them once, when it is first needed.
const MAX_ROWS: usize = 1024;
