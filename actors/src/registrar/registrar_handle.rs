//! The registrar system seen from outside: plain async methods, no actor type.

use super::api::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use super::group_commit::{CommitBounds, GroupCommit};
use super::known_ids::KnownIds;
use super::registration_shard::{Command, RegistrationShard, ShardContext};
use super::store_location::StoreLocation;
use crate::ports::{RegistrarStore, RegistrationRecord, StoreError};
use crate::runtime::cpu_pool::CpuPool;
use actix::{Actor, Addr};
use actix_rt::{Arbiter, System};
use keylime_engine::identity::registration::RegistrationRules;
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Sizes and rules of a registrar system.
#[derive(Debug, Clone)]
pub struct RegistrarOptions {
    /// Arbiter threads; 0 runs everything on the caller's.
    pub shards: usize,
    /// Threads for signatures and credential challenges; 0 computes in place (tests on a paused clock).
    pub cpu_threads: usize,
    /// Requests worked on or waiting at one time; more are answered with `Busy`.
    pub max_in_flight: usize,
    /// Longest time that a write waits for others to share its transaction.
    pub commit_linger: Duration,
    /// Most writes in one transaction.
    pub commit_batch: usize,
    /// `tpm_identity` and `malformed_cert_action`.
    pub rules: RegistrationRules,
    /// `[tenant] tpm_cert_store`: certificates of the authorities that issue IAK and IDevID certificates.
    pub tpm_cert_store: StoreLocation,
}

impl Default for RegistrarOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            cpu_threads: 1,
            max_in_flight: 4096,
            commit_linger: Duration::from_millis(3),
            commit_batch: 256,
            rules: RegistrationRules::default(),
            tpm_cert_store: StoreLocation::at("/var/lib/keylime/tpm_cert_store"),
        }
    }
}

/// Starts the registrar system; must be called inside an actix system.
///
/// # Errors
/// When the CPU threads cannot be started.
pub fn start(options: RegistrarOptions, store: Arc<dyn RegistrarStore>) -> std::io::Result<RegistrarHandle> {
    let bounds = CommitBounds { linger: options.commit_linger, batch: options.commit_batch };
    let (writer, serve_writes) = GroupCommit::new(Arc::clone(&store), bounds);
    let arbiters: Vec<Arbiter> = (0..options.shards).map(|_| Arbiter::new()).collect();
    let pool = match options.cpu_threads {
        0 => CpuPool::inline(),
        threads => CpuPool::with_threads(threads, options.max_in_flight).map_err(std::io::Error::other)?,
    };
    let context = Arc::new(ShardContext {
        store: Arc::clone(&store),
        writer,
        pool,
        rules: options.rules,
        tpm_cert_store: options.tpm_cert_store,
        known: KnownIds::default(),
    });
    let first = arbiters.first().map_or_else(|| System::current().arbiter().clone(), Arbiter::handle);
    first.spawn(serve_writes);
    first.spawn(load_known_ids(Arc::clone(&context)));
    let shards = match arbiters.is_empty() {
        true => vec![Shard::start(None, &context)],
        false => arbiters.into_iter().map(|arbiter| Shard::start(Some(arbiter), &context)).collect(),
    };
    Ok(RegistrarHandle(Arc::new(Inner {
        shards,
        context,
        store,
        admission: Arc::new(Semaphore::new(options.max_in_flight)),
        max_in_flight: options.max_in_flight,
        accepting: AtomicBool::new(true),
    })))
}

/// Until the ids are loaded, and if they cannot be, every registration reads first.
async fn load_known_ids(context: Arc<ShardContext>) {
    match context.store.registration_ids().await {
        Ok(ids) => context.known.load(&ids),
        Err(error) => tracing::warn!(target: "keylime.registrar", reason = %error, "known ids could not be read"),
    }
}

/// The registrar system; cheap to clone.
#[derive(Clone)]
pub struct RegistrarHandle(Arc<Inner>);

struct Inner {
    shards: Vec<Shard>,
    context: Arc<ShardContext>,
    store: Arc<dyn RegistrarStore>,
    admission: Arc<Semaphore>,
    max_in_flight: usize,
    accepting: AtomicBool,
}

impl RegistrarHandle {
    /// Registers a machine; answers the MakeCredential blob in base64 (`registrar.md` §4).
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register(&self, request: RegisterAgent) -> Result<String, RegisterError> {
        const BUSY: RegisterError = RegisterError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS };
        let permit = self.admit().ok_or(BUSY)?;
        let agent_id: Arc<str> = request.agent_id.as_str().into();
        let (reply, answer) = oneshot::channel();
        self.send(&agent_id, |permit| Command::Register { request, reply, permit }, permit).ok_or(BUSY)?;
        answer.await.unwrap_or(Err(BUSY))
    }

    /// Activates a registration with the tag that proves that AK and EK share a TPM.
    ///
    /// # Errors
    /// See [`ActivateError`].
    pub async fn activate(&self, agent_id: &str, auth_tag: &str) -> Result<(), ActivateError> {
        const BUSY: ActivateError = ActivateError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS };
        let permit = self.admit().ok_or(BUSY)?;
        let agent_id: Arc<str> = agent_id.into();
        let (reply, answer) = oneshot::channel();
        let auth_tag = auth_tag.to_owned();
        let id = Arc::clone(&agent_id);
        self.send(&agent_id, |permit| Command::Activate { agent_id: id, auth_tag, reply, permit }, permit)
            .ok_or(BUSY)?;
        answer.await.unwrap_or(Err(BUSY))
    }

    /// Deletes a registration, active or not.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete(&self, agent_id: &str) -> Result<(), DeleteError> {
        const BUSY: DeleteError = DeleteError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS };
        let permit = self.admit().ok_or(BUSY)?;
        let agent_id: Arc<str> = agent_id.into();
        let (reply, answer) = oneshot::channel();
        let id = Arc::clone(&agent_id);
        self.send(&agent_id, |permit| Command::Delete { agent_id: id, reply, permit }, permit).ok_or(BUSY)?;
        answer.await.unwrap_or(Err(BUSY))
    }

    /// One registration, active or not; who may see it is the caller's business.
    ///
    /// # Errors
    /// When the database cannot answer.
    pub async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError> {
        self.0.store.registration(agent_id).await
    }

    /// Ids of all registrations, active or not.
    ///
    /// # Errors
    /// When the database cannot answer.
    pub async fn registration_ids(&self) -> Result<Vec<String>, StoreError> {
        self.0.store.registration_ids().await
    }

    /// Whether requests are accepted.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.accepting.load(Ordering::Relaxed)
    }

    /// Stops accepting requests and waits, at most `drain`, until those under way are committed and answered.
    pub async fn shutdown(&self, drain: Duration) {
        self.0.accepting.store(false, Ordering::Relaxed);
        let all = u32::try_from(self.0.max_in_flight).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout(drain, self.0.admission.acquire_many(all)).await.is_ok();
        if !drained {
            tracing::warn!(target: "keylime.registrar", "registrar stops with unanswered requests");
        }
        self.0.admission.close();
        for shard in &self.0.shards {
            if let Some(arbiter) = &shard.arbiter {
                arbiter.stop();
            }
        }
    }

    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = match self.ready() {
            true => Arc::clone(&self.0.admission).try_acquire_owned().ok(),
            false => None,
        };
        if permit.is_none() {
            metrics::counter!("registrar_refused_busy_total").increment(1);
        }
        permit
    }

    fn send(
        &self,
        agent_id: &str,
        command: impl FnOnce(OwnedSemaphorePermit) -> Command,
        permit: OwnedSemaphorePermit,
    ) -> Option<()> {
        let mut hasher = DefaultHasher::new();
        agent_id.hash(&mut hasher);
        let shards = &self.0.shards;
        let index = usize::try_from(hasher.finish() % shards.len() as u64).unwrap_or(0);
        shards[index].address(&self.0.context).try_send(command(permit)).ok()
    }
}

/// One arbiter with its actor.
struct Shard {
    arbiter: Option<Arbiter>,
    address: Mutex<Addr<RegistrationShard>>,
}

impl Shard {
    fn start(arbiter: Option<Arbiter>, context: &Arc<ShardContext>) -> Self {
        let address = Mutex::new(Self::start_actor(arbiter.as_ref(), context));
        Self { arbiter, address }
    }

    /// The address of a living actor. An actor that ended (only a panic ends one) is replaced: it kept nothing that the
    /// database does not have.
    fn address(&self, context: &Arc<ShardContext>) -> Addr<RegistrationShard> {
        let mut address = self.address.lock();
        if !address.connected() && self.arbiter.is_some() {
            tracing::error!(target: "keylime.registrar", "registration shard ended and is replaced");
            metrics::counter!("registrar_shard_restarts_total").increment(1);
            *address = Self::start_actor(self.arbiter.as_ref(), context);
        }
        address.clone()
    }

    fn start_actor(arbiter: Option<&Arbiter>, context: &Arc<ShardContext>) -> Addr<RegistrationShard> {
        let shard = RegistrationShard::new(Arc::clone(context));
        match arbiter {
            Some(arbiter) => RegistrationShard::start_in_arbiter(&arbiter.handle(), |_| shard),
            None => shard.start(),
        }
    }
}

const RETRY_AFTER_SECONDS: u32 = 2;
