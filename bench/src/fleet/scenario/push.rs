//! Agents call the verifier: throughput, processor time and latency of attestations, memory per agent, and a restart.

use super::SETTLE;
use crate::fleet::FleetError;
use crate::fleet::enrolment::Enroller;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::measured_files::MeasuredFiles;
use crate::fleet::options::{Options, Scenario};
use crate::fleet::population::Population;
use crate::fleet::process_usage::ProcessUsage;
use crate::fleet::push_client::PushAgent;
use crate::fleet::push_fleet::{Pace, PushFleet, Record, Until};
use crate::fleet::servers::Servers;
use crate::fleet::spread::rounded;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a restarted verifier may take until it serves.
const SERVING: Duration = Duration::from_secs(60);

/// How long verdicts may take after the last evidence.
const VERDICTS: Duration = Duration::from_secs(60);

/// Runs one of the push scenarios.
///
/// # Errors
/// The verifier refuses what the scenario asks of it.
pub async fn run(servers: Servers, options: &Options) -> Result<Value, FleetError> {
    let keys = FleetKeys::generate(options.ak)?;
    let files = MeasuredFiles::new(options.policy_files());
    let population = Arc::new(Population::new(options.agents, keys, files, options.new_entries));
    let enroller = Enroller { verifier: servers.verifier()?, agent_port: 9002, connections: options.connections };
    enroller.store_policy(&population).await?;
    let fleet = PushFleet { population, verifier: servers.verifier_for_agents()?, connections: options.connections };
    let run = PushRun { servers, enroller, fleet, options };
    match options.scenario {
        Scenario::Push => run.throughput().await,
        Scenario::PushMemory => run.memory().await,
        Scenario::PushRestart => run.restart().await,
        Scenario::Quotes | Scenario::Enrol | Scenario::Register | Scenario::Memory | Scenario::Revocations => {
            Err(FleetError::Setup("not a push scenario".to_owned()))
        }
    }
}

struct PushRun<'o> {
    servers: Servers,
    enroller: Enroller,
    fleet: PushFleet,
    options: &'o Options,
}

/// What a measured stretch of attestations came to.
struct Stretch {
    seconds: f64,
    cpu_seconds: f64,
    passed: u64,
    record: Record,
}

impl PushRun<'_> {
    fn usage(&self) -> Result<ProcessUsage, FleetError> {
        Ok(ProcessUsage::of_tree(self.servers.verifier_pid())?)
    }

    /// Enrols some agents and gives each a token and its first attestation.
    async fn admit(&self, agents: Range<u32>) -> Result<(Vec<PushAgent>, Value), FleetError> {
        self.enroller.enrol(&self.fleet.population, agents.clone()).await?;
        eprintln!("  {} agents enrolled, opening sessions", agents.end);
        let count = f64::from(agents.end - agents.start);
        let (before, start) = (self.usage()?, Instant::now());
        let opened = self.fleet.open_sessions(agents).await?;
        let (after, took) = (self.usage()?, start.elapsed());
        eprintln!("  {} tokens in hand, first attestations", opened.len());
        let (attested, record) = self.fleet.attest(opened, Pace::Saturate, Until::OneTurnEach).await?;
        if record.accepted() < attested.len() {
            let log = self.servers.verifier_log_end();
            return Err(FleetError::Setup(format!("first attestations: {}\n{log}", record.summary())));
        }
        let sessions = json!({
            "per_s": rounded(count / took.as_secs_f64()),
            "cpu_ms": rounded((after.cpu_seconds - before.cpu_seconds) * 1000.0 / count),
        });
        Ok((attested, sessions))
    }

    /// Waits until the verifier has judged everything it accepted, and answers how many attestations passed in all.
    async fn judged(&self) -> Result<u64, FleetError> {
        let (start, mut last) = (Instant::now(), 0);
        loop {
            let (passed, _) = self.enroller.attestations().await?;
            if (passed == last && passed > 0) || start.elapsed() > VERDICTS {
                return Ok(passed);
            }
            last = passed;
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn stretch(&self, agents: Vec<PushAgent>, pace: Pace) -> Result<(Vec<PushAgent>, Stretch), FleetError> {
        let passed_before = self.judged().await?;
        let (before, start) = (self.usage()?, Instant::now());
        let end = Until::Moment(start + Duration::from_secs_f64(self.options.duration));
        let (agents, record) = self.fleet.attest(agents, pace, end).await?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.usage()?;
        let passed = self.judged().await? - passed_before;
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        Ok((agents, Stretch { seconds, cpu_seconds, passed, record }))
    }

    async fn throughput(&self) -> Result<Value, FleetError> {
        let (agents, sessions) = self.admit(0..self.options.agents).await?;
        eprintln!("  saturating for {} s", self.options.duration);
        let (agents, full) = self.stretch(agents, Pace::Saturate).await?;
        let rate = full.record.accepted() as f64 / full.seconds;
        eprintln!("  {rate:.1} attestations per second; half of it for {} s", self.options.duration);
        let (_, half) = self.stretch(agents, Pace::PerSecond(rate / 2.0)).await?;
        let (_, statuses) = self.enroller.attestations().await?;
        let per_attestation = |stretch: &Stretch| {
            let count = stretch.record.accepted();
            (count > 0).then(|| rounded(stretch.cpu_seconds * 1000.0 / count as f64))
        };
        let usage = self.usage()?;
        Ok(json!({
            "attestations": full.record.accepted(),
            "attestations_per_s": rounded(rate),
            "passed": full.passed,
            "cpu_ms_per_attestation": per_attestation(&full),
            "cpu_cores": rounded(full.cpu_seconds / full.seconds),
            "saturated": full.record.summary(),
            "half_load": {
                "attestations_per_s": rounded(half.record.accepted() as f64 / half.seconds),
                "passed": half.passed,
                "cpu_ms_per_attestation": per_attestation(&half),
                "latency": half.record.summary(),
            },
            "sessions_per_s": sessions["per_s"],
            "cpu_ms_per_session": sessions["cpu_ms"],
            "rss_bytes": usage.rss_bytes,
            "processes": usage.processes,
            "statuses": statuses,
        }))
    }

    async fn resident(&self) -> Result<u64, FleetError> {
        self.judged().await?;
        sleep(SETTLE).await;
        Ok(self.usage()?.rss_bytes)
    }

    async fn memory(&self) -> Result<Value, FleetError> {
        let (few, all) = ((self.options.agents / 20).max(1), self.options.agents);
        if few == all {
            return Err(FleetError::Setup("memory per agent needs at least two agents".to_owned()));
        }
        self.admit(0..few).await?;
        let rss_of_few = self.resident().await?;
        self.admit(few..all).await?;
        let rss_bytes = self.resident().await?;
        let (_, statuses) = self.enroller.attestations().await?;
        Ok(json!({
            "memory_per_agent_bytes": rounded((rss_bytes as f64 - rss_of_few as f64) / f64::from(all - few)),
            "agents_at_first": few,
            "rss_bytes_at_first": rss_of_few,
            "rss_bytes": rss_bytes,
            "connections": "closed before each reading",
            "statuses": statuses,
        }))
    }

    async fn restart(mut self) -> Result<Value, FleetError> {
        let (agents, _) = self.admit(0..self.options.agents).await?;
        self.judged().await?;
        let start = tokio::task::block_in_place(|| self.servers.restart_verifier())?;
        let listening = start.elapsed();
        // Any answer but a refused token or a server's fault shows that it serves: an attestation may be due later.
        let first = loop {
            let answer = self.fleet.try_tokens(agents.first().cloned().into_iter().collect()).await?;
            if answer.keys().all(|status| *status < 500) || start.elapsed() > SERVING {
                break answer;
            }
            sleep(Duration::from_millis(20)).await;
        };
        let serving = start.elapsed();
        let tried = self.fleet.try_tokens(agents).await?;
        let refused = tried.get(&401).copied().unwrap_or(0) + tried.get(&403).copied().unwrap_or(0);
        Ok(json!({
            "listening_s": rounded(listening.as_secs_f64()),
            "serving_again_s": rounded(serving.as_secs_f64()),
            "first_answer": first,
            "all_tokens_tried_s": rounded(start.elapsed().as_secs_f64()),
            "tokens_refused": refused,
            "answers": tried,
            "rss_bytes": self.usage()?.rss_bytes,
        }))
    }
}
