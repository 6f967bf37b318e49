//! Start-up: every stored agent of this verifier gets its actor, page by page.

use crate::ports::{AgentRecord, StoreError, VerifierStore};
use crate::runtime::shard_map::ShardMap;
use crate::verifier::options::AttestationModel;
use crate::verifier::shard_context::{AgentSeed, Line, Start};
use crate::verifier::shard_supervisor::{Adopt, ShardSupervisor};
use actix::Addr;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Starts actors for all agents of `verifier_id`; tries again for as long as the database is away. Answers how many.
pub async fn recover(
    store: Arc<dyn VerifierStore>,
    verifier_id: Arc<str>,
    shards: Arc<[Addr<ShardSupervisor>]>,
    map: ShardMap,
    model: AttestationModel,
) -> usize {
    let mut after: Option<String> = None;
    let mut count = 0;
    loop {
        let read = async {
            let mut page = store.agents_page(Some(&verifier_id), after.as_deref(), PAGE).await?;
            let seeds = seeds_of(&*store, std::mem::take(&mut page.agents), model, Start::Splayed).await?;
            Ok::<_, StoreError>((page, seeds))
        };
        let (page, seeds) = match read.await {
            Ok(read) => read,
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
        count += seeds.len();
        adopt_all(seeds, &shards, map).await;
        match page.next {
            Some(next) => after = Some(next),
            None => return count,
        }
    }
}

/// What the shards need to take up these agents; those that are not attested at all are left out.
///
/// # Errors
/// The database could not answer.
pub async fn seeds_of(
    store: &dyn VerifierStore,
    records: Vec<AgentRecord>,
    model: AttestationModel,
    start: Start,
) -> Result<Vec<AgentSeed>, StoreError> {
    let pushing: Vec<&str> =
        records.iter().filter(|record| is_pushed(record, model)).map(|record| record.agent_id.as_str()).collect();
    let mut stored: HashMap<AgentId, Vec<StoredAttestation>> = HashMap::new();
    if !pushing.is_empty() {
        for (agent_id, attestation) in store.attestation_summaries(&pushing).await? {
            stored.entry(agent_id).or_default().push(attestation);
        }
    }
    Ok(records
        .into_iter()
        .filter_map(|record| {
            let line = if is_pushed(&record, model) {
                Line::Push(stored.remove(&record.agent_id).unwrap_or_default())
            } else if is_pull(&record) {
                Line::Pull
            } else {
                return None;
            };
            Some(AgentSeed { line, record: Box::new(record), start })
        })
        .collect())
}

/// Hands stored agents to their shards; waits until they have been taken.
pub async fn adopt_all(seeds: Vec<AgentSeed>, shards: &[Addr<ShardSupervisor>], map: ShardMap) {
    let mut by_shard: Vec<Vec<AgentSeed>> = shards.iter().map(|_| Vec::new()).collect();
    for seed in seeds {
        by_shard[map.shard_of(&seed.record.agent_id)].push(seed);
    }
    for (shard, seeds) in shards.iter().zip(by_shard) {
        if !seeds.is_empty() {
            // A shard that has ended is being shut down.
            let _ = shard.send(Adopt(seeds)).await;
        }
    }
}

/// Whether an agent was enrolled with an address.
#[must_use]
pub fn is_pull(record: &AgentRecord) -> bool {
    record.operational_state.is_some() && (record.ip.is_some() || record.port.is_some())
}

/// Whether an agent sends its evidence to a verifier of this kind.
#[must_use]
pub fn is_pushed(record: &AgentRecord, model: AttestationModel) -> bool {
    match model {
        AttestationModel::Pull => false,
        AttestationModel::Push => true,
        AttestationModel::Both => !is_pull(record),
    }
}

/// Reads one agent for adoption.
///
/// # Errors
/// The database could not answer.
pub async fn load_seed(
    store: &dyn VerifierStore,
    agent_id: &str,
    model: AttestationModel,
    start: Start,
) -> Result<Option<AgentSeed>, StoreError> {
    let record = store.agent(agent_id).await?;
    Ok(seeds_of(store, record.into_iter().collect(), model, start).await?.pop())
}

const PAGE: u64 = 2000;
const RETRY: Duration = Duration::from_secs(2);
