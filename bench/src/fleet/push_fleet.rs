//! Many push agents on few connections: each worker has one connection and a share of the agents.

use super::FleetError;
use super::agent_number::AgentNumber;
use super::population::Population;
use super::push_client::{Attempt, PushAgent, attest, negotiate, open_session};
use super::rest_client::{RestClient, Target};
use super::spread::Spread;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// How fast attestations begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each worker begins the next when the last has ended.
    Saturate,
    /// So many a second over all workers, whether or not the last has ended in time.
    PerSecond(f64),
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After each agent had one turn.
    OneTurnEach,
    /// At this moment.
    Moment(Instant),
}

/// What the agents saw.
#[derive(Debug, Default)]
pub struct Record {
    posts: Vec<f64>,
    patches: Vec<f64>,
    refusals: BTreeMap<String, u64>,
    broken: u64,
}

impl Record {
    fn note(&mut self, attempt: &Attempt) {
        match attempt {
            Attempt::Attested(attested) => {
                self.posts.push(attested.post.as_secs_f64() * 1000.0);
                self.patches.push(attested.patch.as_secs_f64() * 1000.0);
            }
            Attempt::PostRefused(status) => *self.refusals.entry(format!("POST {status}")).or_insert(0) += 1,
            Attempt::PatchRefused(status) => *self.refusals.entry(format!("PATCH {status}")).or_insert(0) += 1,
        }
    }

    fn join(&mut self, other: Self) {
        self.posts.extend(other.posts);
        self.patches.extend(other.patches);
        self.broken += other.broken;
        for (what, count) in other.refusals {
            *self.refusals.entry(what).or_insert(0) += count;
        }
    }

    /// Attestations accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.patches.len()
    }

    /// Latencies in milliseconds, and what was refused.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "post_ms": Spread::new(self.posts.clone()).summary(),
            "patch_ms": Spread::new(self.patches.clone()).summary(),
            "refused": self.refusals,
            "broken_connections": self.broken,
        })
    }
}

/// The agents and the verifier they call.
#[derive(Clone)]
pub struct PushFleet {
    /// The agents.
    pub population: Arc<Population>,
    /// The verifier.
    pub verifier: Target,
    /// Connections side by side.
    pub connections: u32,
}

impl PushFleet {
    /// Opens a session for each agent.
    ///
    /// # Errors
    /// The first refusal ends it.
    pub async fn open_sessions(&self, agents: Range<u32>) -> Result<Vec<PushAgent>, FleetError> {
        let mut tasks = JoinSet::new();
        for worker in 0..self.connections {
            let (fleet, own) = (self.clone(), agents.clone().skip(worker as usize).step_by(self.connections as usize));
            tasks.spawn(async move {
                let mut client = RestClient::new(fleet.verifier.clone());
                let mut opened = Vec::new();
                for number in own {
                    opened.push(open_session(&mut client, &fleet.population, AgentNumber(number)).await?);
                }
                Ok::<_, FleetError>(opened)
            });
        }
        let mut opened = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            opened.extend(ended.map_err(|e| FleetError::Setup(format!("sessions broke off: {e}")))??);
        }
        Ok(opened)
    }

    /// Lets agents attest; they come back with the time they are due next.
    ///
    /// # Errors
    /// A verifier's answer makes no sense.
    pub async fn attest(
        &self,
        agents: Vec<PushAgent>,
        pace: Pace,
        until: Until,
    ) -> Result<(Vec<PushAgent>, Record), FleetError> {
        let shares = shares(agents, self.connections as usize);
        let workers = shares.len() as f64;
        let record = Arc::new(Mutex::new(Record::default()));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (index, share) in shares.into_iter().enumerate() {
            let step = match pace {
                Pace::Saturate => None,
                Pace::PerSecond(rate) => Some(Duration::from_secs_f64(workers / rate.max(0.001))),
            };
            let first = start + step.unwrap_or_default().mul_f64(index as f64 / workers);
            let worker = Worker { fleet: self.clone(), step, begin: first, until };
            let record = Arc::clone(&record);
            tasks.spawn(async move {
                let (share, own) = worker.run(share).await?;
                record.lock().unwrap_or_else(PoisonError::into_inner).join(own);
                Ok::<_, FleetError>(share)
            });
        }
        let mut agents = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            agents.extend(ended.map_err(|e| FleetError::Setup(format!("attestations broke off: {e}")))??);
        }
        let record = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((agents, record))
    }

    /// Tries each agent's token once; answers how many negotiations had each status.
    ///
    /// # Errors
    /// A connection breaks.
    pub async fn try_tokens(&self, agents: Vec<PushAgent>) -> Result<BTreeMap<u16, u64>, FleetError> {
        let mut tasks = JoinSet::new();
        for share in shares(agents, self.connections as usize) {
            let fleet = self.clone();
            tasks.spawn(async move {
                let mut client = RestClient::new(fleet.verifier.clone());
                let mut statuses = BTreeMap::new();
                for agent in &share {
                    *statuses.entry(negotiate(&mut client, &fleet.population, agent).await?).or_insert(0) += 1;
                }
                Ok::<BTreeMap<u16, u64>, FleetError>(statuses)
            });
        }
        let mut all = BTreeMap::new();
        while let Some(ended) = tasks.join_next().await {
            for (status, count) in ended.map_err(|e| FleetError::Setup(format!("trying tokens broke off: {e}")))?? {
                *all.entry(status).or_insert(0) += count;
            }
        }
        Ok(all)
    }
}

fn shares(agents: Vec<PushAgent>, count: usize) -> Vec<Vec<PushAgent>> {
    let mut shares: Vec<Vec<PushAgent>> = (0..count.min(agents.len()).max(1)).map(|_| Vec::new()).collect();
    let count = shares.len();
    for (index, agent) in agents.into_iter().enumerate() {
        shares[index % count].push(agent);
    }
    shares
}

/// One connection's loop.
struct Worker {
    fleet: PushFleet,
    step: Option<Duration>,
    begin: Instant,
    until: Until,
}

impl Worker {
    async fn run(self, mut agents: Vec<PushAgent>) -> Result<(Vec<PushAgent>, Record), FleetError> {
        let mut client = RestClient::new(self.fleet.verifier.clone());
        let mut record = Record::default();
        let mut begin = self.begin;
        let turns = match self.until {
            Until::OneTurnEach => agents.len(),
            Until::Moment(_) if agents.is_empty() => 0,
            Until::Moment(_) => usize::MAX,
        };
        for turn in 0..turns {
            let count = agents.len();
            let agent = &mut agents[turn % count];
            let at = begin.max(agent.due);
            if let Until::Moment(end) = self.until
                && at.max(Instant::now()) >= end
            {
                break;
            }
            sleep_until(at.into()).await;
            match attest(&mut client, &self.fleet.population, agent).await {
                Ok(attempt) => {
                    record.note(&attempt);
                    agent.due = match attempt {
                        Attempt::Attested(attested) => Instant::now() + attested.next_in,
                        Attempt::PostRefused(_) | Attempt::PatchRefused(_) => Instant::now() + Duration::from_secs(1),
                    };
                }
                Err(FleetError::Connection(_) | FleetError::Io(_)) => {
                    record.broken += 1;
                    client = RestClient::new(self.fleet.verifier.clone());
                }
                Err(other) => return Err(other),
            }
            begin = self.step.map_or_else(Instant::now, |step| begin + step);
        }
        Ok((agents, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_lose_nobody() {
        let agent = |n| PushAgent { number: AgentNumber(n), token: String::new(), due: Instant::now() };
        let sizes = |count| shares((0..7).map(agent).collect(), count).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(3), [3, 2, 2]);
        assert_eq!(sizes(99), [1; 7]);
        assert_eq!(shares(Vec::new(), 4).len(), 1);
    }
}
