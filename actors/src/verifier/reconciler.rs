//! Compares actors and rows every few minutes and heals what a crash between two steps left behind.

use crate::ports::{StoreError, VerifierStore};
use crate::runtime::shard_map::ShardMap;
use crate::verifier::options::AttestationModel;
use crate::verifier::recovery::{adopt_all, load_seed};
use crate::verifier::shard_context::Start;
use crate::verifier::shard_supervisor::{Announce, Compare, Release, ShardSupervisor};
use actix::Addr;
use keylime_engine::ids::AgentId;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Runs for ever, once per `interval`.
pub async fn reconcile_for_ever(
    store: Arc<dyn VerifierStore>,
    verifier_id: Arc<str>,
    shards: Arc<[Addr<ShardSupervisor>]>,
    map: ShardMap,
    model: AttestationModel,
    interval: Duration,
) {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = reconcile(&*store, &verifier_id, &shards, map, model).await {
            tracing::warn!(target: "keylime.verifier", %error, "rows and actors could not be compared");
        }
    }
}

/// Compares once: a row without an actor gets one, an actor without a row ends.
///
/// # Errors
/// The database could not answer.
pub async fn reconcile(
    store: &dyn VerifierStore,
    verifier_id: &str,
    shards: &[Addr<ShardSupervisor>],
    map: ShardMap,
    model: AttestationModel,
) -> Result<(), StoreError> {
    let mut stored: Vec<HashSet<AgentId>> = shards.iter().map(|_| HashSet::new()).collect();
    for agent_id in store.agent_ids(Some(verifier_id)).await? {
        if let Ok(agent_id) = AgentId::parse(&agent_id) {
            stored[map.shard_of(&agent_id)].insert(agent_id);
        }
    }
    for (shard, stored) in shards.iter().zip(stored) {
        let Ok((missing, orphaned)) = shard.send(Compare(Arc::new(stored))).await else {
            continue;
        };
        for agent_id in missing {
            // Push agents have no actor in a verifier that only asks.
            if let Some(seed) = load_seed(store, agent_id.as_str(), model, Start::Splayed).await? {
                tracing::warn!(target: "keylime.verifier", %agent_id, "a stored agent had no actor");
                adopt_all(vec![seed], shards, map).await;
            }
        }
        for agent_id in orphaned {
            // It may have been enrolled after the ids were read.
            if store.agent(agent_id.as_str()).await?.is_none() {
                tracing::warn!(target: "keylime.verifier", %agent_id, "an actor had no stored agent");
                shard.do_send(Announce::RowGone(agent_id.clone()));
                shard.do_send(Release(agent_id));
            }
        }
    }
    Ok(())
}
