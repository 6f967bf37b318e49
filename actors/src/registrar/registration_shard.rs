//! One shard: lets one task at a time work on an agent id, and remembers what it last wrote.
//!
//! The actor itself only queues and forgets; loading, deciding and writing happen in [`super::registration_task`].

use super::api::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use super::group_commit::GroupCommit;
use super::known_ids::KnownIds;
use super::recent_registrations::{Memory, RecentRegistrations};
use super::registration_task;
use super::store_location::StoreLocation;
use crate::ports::RegistrarStore;
use crate::runtime::cpu_pool::CpuPool;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use hashbrown::HashMap;
use keylime_engine::identity::registration::RegistrationRules;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What all shards share.
pub(super) struct ShardContext {
    pub(super) store: Arc<dyn RegistrarStore>,
    pub(super) writer: GroupCommit,
    pub(super) pool: CpuPool,
    pub(super) rules: RegistrationRules,
    pub(super) tpm_cert_store: StoreLocation,
    pub(super) known: KnownIds,
}

/// A request with the way back to its caller and its place in the admission bound.
pub(super) enum Command {
    Register {
        request: RegisterAgent,
        reply: oneshot::Sender<Result<String, RegisterError>>,
        permit: OwnedSemaphorePermit,
    },
    Activate {
        agent_id: Arc<str>,
        auth_tag: String,
        reply: oneshot::Sender<Result<(), ActivateError>>,
        permit: OwnedSemaphorePermit,
    },
    Delete {
        agent_id: Arc<str>,
        reply: oneshot::Sender<Result<(), DeleteError>>,
        permit: OwnedSemaphorePermit,
    },
}

impl Command {
    fn agent_id(&self) -> Arc<str> {
        match self {
            Self::Register { request, .. } => request.agent_id.as_str().into(),
            Self::Activate { agent_id, .. } | Self::Delete { agent_id, .. } => Arc::clone(agent_id),
        }
    }
}

impl Message for Command {
    type Result = ();
}

/// The actor of one shard.
pub(super) struct RegistrationShard {
    context: Arc<ShardContext>,
    /// Ids that a task works on, with the commands that wait for it; the admission bound limits their number.
    busy: HashMap<Arc<str>, VecDeque<Command>>,
    recent: RecentRegistrations,
}

impl RegistrationShard {
    pub(super) fn new(context: Arc<ShardContext>) -> Self {
        Self { context, busy: HashMap::new(), recent: RecentRegistrations::default() }
    }

    fn run(&mut self, agent_id: Arc<str>, command: Command, shard: Addr<Self>) {
        let seen = self.recent.take(&agent_id);
        let finish = Finish { shard, agent_id, memory: Memory::Unknown };
        let context = Arc::clone(&self.context);
        actix_rt::spawn(async move {
            let memory = registration_task::run(&context, command, seen).await;
            finish.with(memory);
        });
    }
}

impl Actor for RegistrationShard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The admission bound, not the mailbox, limits what waits; this only must not be the smaller of the two.
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Command> for RegistrationShard {
    type Result = ();

    fn handle(&mut self, command: Command, ctx: &mut Self::Context) {
        let agent_id = command.agent_id();
        if let Some(waiting) = self.busy.get_mut(&agent_id) {
            waiting.push_back(command);
            return;
        }
        self.busy.insert(Arc::clone(&agent_id), VecDeque::new());
        self.run(agent_id, command, ctx.address());
    }
}

/// A task has ended, by finishing or by panicking.
struct Finished {
    agent_id: Arc<str>,
    memory: Memory,
}

impl Message for Finished {
    type Result = ();
}

impl Handler<Finished> for RegistrationShard {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Self::Context) {
        self.recent.remember(&finished.agent_id, finished.memory);
        let Some(waiting) = self.busy.get_mut(&finished.agent_id) else { return };
        match waiting.pop_front() {
            Some(command) => self.run(finished.agent_id, command, ctx.address()),
            None => {
                self.busy.remove(&finished.agent_id);
            }
        }
    }
}

/// Reports the end of a task when it is dropped, so that a panic cannot leave an id busy for ever.
struct Finish {
    shard: Addr<RegistrationShard>,
    agent_id: Arc<str>,
    memory: Memory,
}

impl Finish {
    fn with(mut self, memory: Memory) {
        self.memory = memory;
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::Unknown);
        self.shard.do_send(Finished { agent_id: Arc::clone(&self.agent_id), memory });
    }
}

const MAILBOX: usize = 65_536;
