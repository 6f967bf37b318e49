//! Start-up: every stored agent of this verifier gets its actor, page by page.

use crate::ports::{AgentRecord, StoreError, VerifierStore};
use crate::runtime::shard_map::ShardMap;
use crate::verifier::shard_context::{AgentSeed, Start};
use crate::verifier::shard_supervisor::{Adopt, ShardSupervisor};
use actix::Addr;
use std::sync::Arc;
use std::time::Duration;

/// Starts actors for all agents of `verifier_id`; tries again for as long as the database is away. Answers how many.
pub async fn recover(
    store: Arc<dyn VerifierStore>,
    verifier_id: Arc<str>,
    shards: Arc<[Addr<ShardSupervisor>]>,
    map: ShardMap,
) -> usize {
    let mut after: Option<String> = None;
    let mut count = 0;
    loop {
        let page = match store.agents_page(Some(&verifier_id), after.as_deref(), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(target: "keylime.verifier", %error, "stored agents cannot be read yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        for (agent_id, reason) in &page.bad {
            metrics::counter!("keylime_verifier_bad_rows_total").increment(1);
            tracing::error!(target: "keylime.verifier", ?agent_id, reason, "a stored agent cannot be read and is skipped");
        }
        count += page.agents.len();
        adopt_all(page.agents, &shards, map, Start::Splayed).await;
        match page.next {
            Some(next) => after = Some(next),
            None => return count,
        }
    }
}

/// Hands stored agents to their shards; waits until they have been taken.
pub async fn adopt_all(records: Vec<AgentRecord>, shards: &[Addr<ShardSupervisor>], map: ShardMap, start: Start) {
    let mut seeds: Vec<Vec<AgentSeed>> = shards.iter().map(|_| Vec::new()).collect();
    for record in records.into_iter().filter(is_pull) {
        let shard = map.shard_of(&record.agent_id);
        seeds[shard].push(AgentSeed { record: Box::new(record), start });
    }
    for (shard, seeds) in shards.iter().zip(seeds) {
        if !seeds.is_empty() {
            // A shard that has ended is being shut down.
            let _ = shard.send(Adopt(seeds)).await;
        }
    }
}

/// Whether the verifier asks this agent for its evidence; push agents come by themselves.
#[must_use]
pub fn is_pull(record: &AgentRecord) -> bool {
    record.operational_state.is_some() && (record.ip.is_some() || record.port.is_some())
}

/// Reads one agent for adoption.
///
/// # Errors
/// The database could not answer.
pub async fn load_pull(store: &dyn VerifierStore, agent_id: &str) -> Result<Option<AgentRecord>, StoreError> {
    Ok(store.agent(agent_id).await?.filter(is_pull))
}

const PAGE: u64 = 2000;
const RETRY: Duration = Duration::from_secs(2);
