//! Agents run an unknown file: when does the subscriber hear of each?

use super::Run;
use crate::fleet::FleetError;
use crate::fleet::agent_number::AgentNumber;
use crate::fleet::population::Intrusion;
use crate::fleet::spread::{Spread, rounded};
use keylime_harness::subscriber::{Received, Subscriber};
use serde_json::{Value, json};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Beyond the time in which every agent is asked again.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
/// How long is listened for messages after the last one that is owed.
const QUIET: Duration = Duration::from_secs(3);

impl Run<'_> {
    pub(super) async fn revocations(&self) -> Result<Value, FleetError> {
        let url = self.servers.broker_url().ok_or_else(|| FleetError::Setup("broker is absent".to_owned()))?;
        let subscriber = tokio::task::block_in_place(|| Subscriber::start(&url))?;
        self.enrol_all().await?;
        self.wait_until_asked(self.options.agents).await?;
        sleep(Duration::from_secs_f64(self.options.interval().max(2.0))).await;

        let spacing = Duration::from_millis(self.options.failure_spacing.into());
        let failing = self.options.failing();
        let observations = &self.population.observations;
        observations.start_recording();
        let (start, before) = (Instant::now(), observations.counts());
        eprintln!("  {failing} agents run an unknown file");
        self.population.intrude(Intrusion { start, agents: failing, spacing });
        let all_failed = spacing * failing + Duration::from_secs_f64(3.0 * self.options.interval());
        let messages = tokio::task::block_in_place(|| collect(&subscriber, failing, all_failed + DELIVERY_LIMIT));
        let seconds = start.elapsed().as_secs_f64();
        let gaps = observations.stop_recording();
        let quotes = (observations.counts().quotes - before.quotes) as f64;

        let mut result = self.deliveries(&messages, failing);
        result["quotes_per_s_meanwhile"] = json!(rounded(quotes / seconds));
        result["lateness"] = super::lateness(gaps, self.options.interval()).summary();
        result["states"] = json!(self.enroller.states().await?);
        Ok(result)
    }

    fn deliveries(&self, messages: &[Received], failing: u32) -> Value {
        let ids: HashSet<&str> = messages.iter().map(|message| message.message_id.as_str()).collect();
        let mut first: BTreeMap<AgentNumber, Instant> = BTreeMap::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut doubled = 0;
        for message in messages.iter().filter(|message| seen.insert(&message.message_id)) {
            let Some(agent) = agent_of(message) else { continue };
            match first.entry(agent) {
                Entry::Occupied(_) => doubled += 1,
                Entry::Vacant(entry) => {
                    entry.insert(message.at);
                }
            }
        }
        let evidence = |agent: &AgentNumber| self.population.evidence_at(*agent);
        let latencies = first.iter().filter_map(|(agent, at)| {
            let evidence = evidence(agent)?;
            Some(at.saturating_duration_since(evidence).as_secs_f64() * 1000.0)
        });
        let start = (0..failing).filter_map(|n| evidence(&AgentNumber(n))).min();
        let span = start.zip(first.values().max()).map(|(start, end)| end.saturating_duration_since(start));
        json!({
            "failing": failing,
            "agents_heard_of": first.len(),
            "missing": (0..failing).filter(|n| !first.contains_key(&AgentNumber(*n))).count(),
            "unexpected": first.keys().filter(|agent| agent.0 >= failing).count(),
            "messages": messages.len(),
            "redelivered": messages.len() - ids.len(),
            "doubled_after_dedupe": doubled,
            "latency_ms": Spread::new(latencies.collect()).summary(),
            "first_evidence_to_last_delivery_s": span.map(|span| rounded(span.as_secs_f64())),
        })
    }
}

/// The agent a routing key ends with.
fn agent_of(message: &Received) -> Option<AgentNumber> {
    AgentNumber::of_id(message.routing_key.rsplit('.').next()?)
}

/// Receives until every failing agent was heard of and it is quiet, or the time is over.
fn collect(subscriber: &Subscriber, failing: u32, limit: Duration) -> Vec<Received> {
    let (start, mut messages, mut heard) = (Instant::now(), Vec::new(), HashSet::new());
    while let Some(left) = limit.checked_sub(start.elapsed()) {
        let wait = if heard.len() < failing as usize { left } else { left.min(QUIET) };
        let Some(message) = subscriber.next(wait) else { break };
        heard.extend(agent_of(&message).filter(|agent| agent.0 < failing));
        messages.push(message);
    }
    messages
}
