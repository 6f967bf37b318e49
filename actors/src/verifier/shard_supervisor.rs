//! The supervisor of one shard: owns the actors of its agents, builds them anew after a crash, quarantines those that crash
//! too often. It never waits, and does neither cryptography nor SQL of its own.

use crate::ports::{AgentRecord, StoreError};
use crate::runtime::exit_guard::{Exit, ExitGuard};
use crate::runtime::restart_policy::{AfterCrash, RestartHistory};
use crate::verifier::agent_actor::{AgentActor, Command, CommandOutcome, Obey, Snapshot, Tell};
use crate::verifier::agent_material::AgentMaterial;
use crate::verifier::progress_rows::facts_of;
use crate::verifier::push_agent_actor::{OpenAttestation, PushAgentActor, ReadOffer, ReadOpen, SubmitEvidence};
use crate::verifier::push_api::AcceptedEvidence;
use crate::verifier::push_interval::warn_of_long_interval;
use crate::verifier::push_material::PushMaterial;
use crate::verifier::push_rows::{presence_of, push_facts_of};
use crate::verifier::recovery::load_seed;
use crate::verifier::shard_context::{AgentSeed, Line, ShardContext, Start, SystemContext};
use crate::verifier::status::AgentSnapshot;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use futures_util::future::join_all;
use keylime_engine::evidence::attestation::Attestation;
use keylime_engine::ids::{AgentId, Generation};
use keylime_engine::lifecycle::deadline::{splay, stable_hash};
use keylime_engine::lifecycle::push_restore::{RestoredPush, StoredAttestation, restore_push};
use keylime_engine::lifecycle::restore::{Restored, restore};
use keylime_engine::lifecycle::{OperationalState, PullState, Refusal};
use keylime_engine::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The supervisor of one shard.
pub struct ShardSupervisor {
    shard: Rc<ShardContext>,
    slots: HashMap<AgentId, Slot>,
    /// When crashed actors are built anew.
    restarts: BTreeSet<(Timestamp, AgentId)>,
    generation: Generation,
}

struct Slot {
    generation: Generation,
    occupant: Occupant,
    /// Only of agents whose actor has crashed.
    history: Option<Box<RestartHistory>>,
}

enum Occupant {
    Live(LiveAgent),
    Restarting,
    Quarantined,
}

/// The actor of an agent that is asked, or of one that sends.
#[derive(Clone)]
enum LiveAgent {
    Pull(Addr<AgentActor>),
    Push(Addr<PushAgentActor>),
}

impl LiveAgent {
    fn do_send(&self, message: Tell) {
        match self {
            Self::Pull(address) => address.do_send(message),
            Self::Push(address) => address.do_send(message),
        }
    }

    async fn obey(self, command: Command) -> Option<CommandOutcome> {
        // A mailbox error means that the actor ended meanwhile.
        match self {
            Self::Pull(address) => address.send(Obey(command)).await.ok(),
            Self::Push(address) => address.send(Obey(command)).await.ok(),
        }
    }

    async fn snapshot(self) -> Option<AgentSnapshot> {
        match self {
            Self::Pull(address) => address.send(Snapshot).await.ok(),
            Self::Push(address) => address.send(Snapshot).await.ok(),
        }
    }
}

/// Opens an attestation of an agent.
#[derive(Message)]
#[rtype(result = "Result<Arc<Attestation>, Unanswered>")]
pub struct RouteOpening(pub AgentId, pub Arc<ReadOffer>);

/// Sends evidence of an agent: for this index or the latest attestation.
#[derive(Message)]
#[rtype(result = "Result<AcceptedEvidence, Unanswered>")]
pub struct RouteEvidence(pub AgentId, pub Option<Box<str>>, pub Option<Option<Value>>);

/// Asks for the open attestation of an agent.
#[derive(Message)]
#[rtype(result = "Option<Arc<Attestation>>")]
pub struct RouteReading(pub AgentId);

/// Why a push agent gets no answer of the kind it wants.
pub enum Unanswered {
    /// Its lifecycle refuses.
    Refused(Refusal),
    /// It is one that is asked for its evidence.
    Asked,
    /// It has no live actor.
    Absent,
}

/// Builds actors for stored agents; those that have one are left alone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt(pub Vec<AgentSeed>);

/// Has an agent's actor carry out a command; `None` when it has no live actor.
#[derive(Message)]
#[rtype(result = "Option<CommandOutcome>")]
pub struct Route(pub AgentId, pub Command);

/// Asks what is known of agents; those of which nothing is known are left out.
#[derive(Message)]
#[rtype(result = "Vec<AgentSnapshot>")]
pub struct Survey(pub Vec<AgentId>);

/// Forgets an agent whose row was deleted without its actor, and lifts a quarantine.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Release(pub AgentId);

/// Compares with the ids in the database; answers (ids without an actor, actors without a row).
#[derive(Message)]
#[rtype(result = "(Vec<AgentId>, Vec<AgentId>)")]
pub struct Compare(pub Arc<HashSet<AgentId>>);

/// Something for the shard's agents that needs no answer.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Announce {
    /// Policies of these agents were replaced.
    PoliciesChanged(Vec<AgentId>),
    /// What the agent of this row was enrolled with was changed.
    Amended(Box<AgentRecord>),
    /// A coalesced write found the row gone or in another state.
    RowChanged(AgentId, Option<i32>),
    /// The row of this agent is gone.
    RowGone(AgentId),
    /// No new requests to agents; held-back changes go to the writer.
    Drain,
}

#[derive(Message)]
#[rtype(result = "()")]
struct AgentExited {
    agent_id: AgentId,
    generation: Generation,
    exit: Exit,
}

impl ShardSupervisor {
    /// Starts the supervisor on the current arbiter.
    #[must_use]
    pub fn start_here(system: SystemContext) -> Addr<Self> {
        let shard = Rc::new(ShardContext::new(system));
        let supervisor = Self {
            shard: Rc::clone(&shard),
            slots: HashMap::new(),
            restarts: BTreeSet::new(),
            generation: Generation::default(),
        };
        let address = supervisor.start();
        // The cell is fresh, so it is empty.
        let _ = shard.supervisor.set(address.clone());
        address
    }

    fn adopt(&mut self, seed: AgentSeed) {
        let agent_id = seed.record.agent_id.clone();
        if matches!(self.slots.get(&agent_id), Some(Slot { occupant: Occupant::Live(_) | Occupant::Quarantined, .. })) {
            return;
        }
        let now = self.shard.now();
        let due = match seed.start {
            Start::AtOnce => now.at,
            Start::Splayed => {
                now.at.after(splay(stable_hash(agent_id.as_str()), self.shard.system.settings.quote_interval))
            }
        };
        let stored = match seed.line {
            Line::Pull => None,
            Line::Push(stored) => Some(stored),
        };
        if let Some(stored) = stored {
            return self.adopt_pushed(&seed.record, &stored);
        }
        let facts = facts_of(&seed.record);
        let severity = &self.shard.system.settings.severity;
        let state = match restore(seed.record.operational_state, facts, severity, due) {
            Restored::State(state) => *state,
            Restored::FinishDeletion => {
                return self.finish_deletion(agent_id);
            }
        };
        let system = &self.shard.system;
        let (material, unusable) = match AgentMaterial::from_record(&seed.record, system.agent_tls, &system.shared) {
            Ok(material) => (material, None),
            Err(reason) => (AgentMaterial::unusable(agent_id.clone()), Some(reason.into_boxed_str())),
        };
        self.spawn_agent(agent_id, Arc::new(material), state, unusable);
    }

    fn adopt_pushed(&mut self, record: &AgentRecord, stored: &[StoredAttestation]) {
        let agent_id = record.agent_id.clone();
        let now = self.shard.now();
        let system = &self.shard.system;
        let (facts, presence) = (push_facts_of(record), presence_of(record));
        let settings = &system.push_settings;
        let (state, pending) = match restore_push(record.operational_state, facts, presence, stored, settings, now) {
            RestoredPush::State(state, pending) => (*state, pending),
            RestoredPush::FinishDeletion => return self.finish_deletion(agent_id),
        };
        warn_of_long_interval(record, settings);
        let material = Arc::new(PushMaterial::from_record(record, &system.shared));
        if let Err(reason) = &material.terms {
            tracing::error!(target: "keylime.verifier", %agent_id, %reason, "a stored push agent cannot be attested");
        }
        let (guard, generation) = self.guard(&agent_id);
        let actor = PushAgentActor::new(Rc::clone(&self.shard), material, state, pending, guard);
        self.occupy(agent_id, generation, LiveAgent::Push(actor.start()));
    }

    fn finish_deletion(&self, agent_id: AgentId) {
        tracing::info!(target: "keylime.verifier", %agent_id, "finishing an interrupted deletion");
        let write = crate::ports::VerifierWrite::Delete { agent_id };
        // The row is compared again by the reconciler.
        drop(self.shard.writer().durable(write, crate::persistence::batch_writer::Keep::UntilWritten));
    }

    fn spawn_agent(
        &mut self,
        agent_id: AgentId,
        material: Arc<AgentMaterial>,
        state: PullState,
        unusable: Option<Box<str>>,
    ) {
        let (guard, generation) = self.guard(&agent_id);
        let actor = AgentActor::new(Rc::clone(&self.shard), material, state, guard, unusable);
        self.occupy(agent_id, generation, LiveAgent::Pull(actor.start()));
    }

    /// The guard of a new actor.
    fn guard(&mut self, agent_id: &AgentId) -> (ExitGuard, Generation) {
        self.generation = self.generation.next();
        let generation = self.generation;
        let shard = Rc::clone(&self.shard);
        let exiting = agent_id.clone();
        let guard = ExitGuard::new(move |exit| {
            let live = shard.system.live.fetch_sub(1, Ordering::Relaxed) - 1;
            metrics::gauge!("keylime_verifier_live_actors").set(live as f64);
            if let Some(supervisor) = shard.supervisor.get() {
                supervisor.do_send(AgentExited { agent_id: exiting, generation, exit });
            }
        });
        (guard, generation)
    }

    fn occupy(&mut self, agent_id: AgentId, generation: Generation, agent: LiveAgent) {
        let history = self.slots.remove(&agent_id).and_then(|slot| slot.history);
        self.slots.insert(agent_id, Slot { generation, occupant: Occupant::Live(agent), history });
    }

    fn live(&self, agent_id: &AgentId) -> Option<&LiveAgent> {
        match self.slots.get(agent_id).map(|slot| &slot.occupant) {
            Some(Occupant::Live(address)) => Some(address),
            Some(Occupant::Restarting | Occupant::Quarantined) | None => None,
        }
    }

    fn exited(&mut self, agent_id: AgentId, generation: Generation, exit: Exit) {
        let Some(slot) = self.slots.get_mut(&agent_id).filter(|slot| slot.generation == generation) else {
            return;
        };
        if exit == Exit::Stopped {
            self.slots.remove(&agent_id);
            return;
        }
        let now = self.shard.now().at;
        match slot.history.get_or_insert_default().crashed(now) {
            AfterCrash::Restart(delay) => {
                metrics::counter!("keylime_verifier_actor_restarts_total").increment(1);
                tracing::error!(target: "keylime.verifier", %agent_id, delay_seconds = delay.as_secs(), "actor crashed");
                slot.occupant = Occupant::Restarting;
                self.restarts.insert((now.after(delay), agent_id));
            }
            AfterCrash::Quarantine => {
                metrics::counter!("keylime_verifier_quarantined_total").increment(1);
                tracing::error!(target: "keylime.verifier", %agent_id, "actor crashed too often, quarantined");
                slot.occupant = Occupant::Quarantined;
            }
        }
    }

    fn restart_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.shard.now().at;
        while self.restarts.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, agent_id)) = self.restarts.pop_first() else { return };
            let store = Arc::clone(self.shard.store());
            let (wanted, model) = (agent_id.clone(), self.shard.system.model);
            let load = async move { load_seed(&*store, wanted.as_str(), model, Start::AtOnce).await };
            ctx.spawn(load.into_actor(self).map(move |loaded, supervisor, _| supervisor.rebuild(agent_id, loaded)));
        }
    }

    fn rebuild(&mut self, agent_id: AgentId, loaded: Result<Option<AgentSeed>, StoreError>) {
        if !matches!(self.slots.get(&agent_id), Some(Slot { occupant: Occupant::Restarting, .. })) {
            return;
        }
        match loaded {
            Ok(Some(seed)) => self.adopt(seed),
            Ok(None) => drop(self.slots.remove(&agent_id)),
            Err(_) => {
                let at = self.shard.now().at.after(Duration::from_secs(1));
                self.restarts.insert((at, agent_id));
            }
        }
    }

    fn pushing(&self, agent_id: &AgentId) -> Result<&Addr<PushAgentActor>, Unanswered> {
        match self.live(agent_id) {
            Some(LiveAgent::Push(address)) => Ok(address),
            Some(LiveAgent::Pull(_)) => Err(Unanswered::Asked),
            None => Err(Unanswered::Absent),
        }
    }

    fn tell(&self, agent_id: &AgentId, message: Tell) {
        if let Some(address) = self.live(agent_id) {
            address.do_send(message);
        }
    }
}

impl Actor for ShardSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(SUPERVISION_TICK, |supervisor, ctx| supervisor.restart_due(ctx));
    }
}

impl Handler<Adopt> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Adopt(seeds): Adopt, _: &mut Self::Context) {
        for seed in seeds {
            self.adopt(seed);
        }
    }
}

impl Handler<Route> for ShardSupervisor {
    type Result = ResponseFuture<Option<CommandOutcome>>;

    fn handle(&mut self, Route(agent_id, command): Route, _: &mut Self::Context) -> Self::Result {
        let agent = self.live(&agent_id).cloned();
        Box::pin(async move { agent?.obey(command).await })
    }
}

impl Handler<RouteOpening> for ShardSupervisor {
    type Result = ResponseFuture<Result<Arc<Attestation>, Unanswered>>;

    fn handle(&mut self, RouteOpening(agent_id, offer): RouteOpening, _: &mut Self::Context) -> Self::Result {
        let request = self.pushing(&agent_id).map(|address| address.send(OpenAttestation(offer)));
        Box::pin(async move {
            match request?.await {
                Ok(answer) => answer.map_err(Unanswered::Refused),
                // The actor ended meanwhile.
                Err(_) => Err(Unanswered::Absent),
            }
        })
    }
}

impl Handler<RouteEvidence> for ShardSupervisor {
    type Result = ResponseFuture<Result<AcceptedEvidence, Unanswered>>;

    fn handle(&mut self, message: RouteEvidence, _: &mut Self::Context) -> Self::Result {
        let RouteEvidence(agent_id, index, evidence) = message;
        let request = self.pushing(&agent_id).map(|address| address.send(SubmitEvidence { index, evidence }));
        Box::pin(async move {
            match request?.await {
                Ok(answer) => answer.map_err(Unanswered::Refused),
                // The actor ended meanwhile.
                Err(_) => Err(Unanswered::Absent),
            }
        })
    }
}

impl Handler<RouteReading> for ShardSupervisor {
    type Result = ResponseFuture<Option<Arc<Attestation>>>;

    fn handle(&mut self, RouteReading(agent_id): RouteReading, _: &mut Self::Context) -> Self::Result {
        let request = self.pushing(&agent_id).ok().map(|address| address.send(ReadOpen));
        Box::pin(async move { request?.await.ok().flatten() })
    }
}

impl Handler<Survey> for ShardSupervisor {
    type Result = ResponseFuture<Vec<AgentSnapshot>>;

    fn handle(&mut self, Survey(agent_ids): Survey, _: &mut Self::Context) -> Self::Result {
        let mut known = Vec::new();
        let mut requests = Vec::new();
        for agent_id in agent_ids {
            match self.slots.get(&agent_id).map(|slot| &slot.occupant) {
                Some(Occupant::Live(agent)) => requests.push(agent.clone().snapshot()),
                Some(Occupant::Quarantined) => {
                    known.push(AgentSnapshot {
                        agent_id,
                        live: None,
                        failure_details: Vec::new(),
                        explanations: None,
                        quarantined: true,
                    });
                }
                Some(Occupant::Restarting) | None => {}
            }
        }
        Box::pin(async move {
            known.extend(join_all(requests).await.into_iter().flatten());
            known
        })
    }
}

impl Handler<Release> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Release(agent_id): Release, _: &mut Self::Context) {
        if self.live(&agent_id).is_none() {
            self.slots.remove(&agent_id);
        }
    }
}

impl Handler<Compare> for ShardSupervisor {
    type Result = actix::MessageResult<Compare>;

    fn handle(&mut self, Compare(stored): Compare, _: &mut Self::Context) -> Self::Result {
        let missing = stored.iter().filter(|id| !self.slots.contains_key(*id)).cloned().collect();
        let orphaned = self.slots.keys().filter(|id| !stored.contains(*id)).cloned().collect();
        actix::MessageResult((missing, orphaned))
    }
}

impl Handler<Announce> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, message: Announce, _: &mut Self::Context) {
        match message {
            Announce::PoliciesChanged(agent_ids) => {
                for agent_id in agent_ids {
                    self.tell(&agent_id, Tell::PolicyChanged);
                }
            }
            Announce::Amended(record) => {
                let agent_id = record.agent_id.clone();
                self.tell(&agent_id, Tell::Amended(record));
            }
            Announce::RowChanged(agent_id, stored) => {
                let stored = stored.and_then(|code| OperationalState::from_code(i64::from(code)));
                self.tell(&agent_id, Tell::RowChanged(stored));
            }
            Announce::RowGone(agent_id) => self.tell(&agent_id, Tell::End),
            Announce::Drain => {
                self.shard.draining.set(true);
                for slot in self.slots.values() {
                    if let Occupant::Live(address) = &slot.occupant {
                        address.do_send(Tell::Flush);
                    }
                }
            }
        }
    }
}

impl Handler<AgentExited> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, message: AgentExited, _: &mut Self::Context) {
        self.exited(message.agent_id, message.generation, message.exit);
    }
}

const MAILBOX: usize = 1024;
/// Resolution of restart delays.
const SUPERVISION_TICK: Duration = Duration::from_millis(500);
