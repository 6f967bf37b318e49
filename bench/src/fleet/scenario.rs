//! The runs.

mod push;
mod revocations;

use super::FleetError;
use super::agent_number::AgentNumber;
use super::enrolment::Enroller;
use super::fleet_keys::FleetKeys;
use super::listener::Listener;
use super::measured_files::MeasuredFiles;
use super::options::{Options, Scenario};
use super::population::Population;
use super::process_usage::ProcessUsage;
use super::registration::{Applicant, register_all};
use super::servers::Servers;
use super::spread::{Spread, rounded};
use crate::soft_tpm::Manufacturer;
use keylime_harness::stack::Implementation;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long closed connections and freed memory are given to be gone.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the scenario against one implementation and answers its figures.
///
/// # Errors
/// The servers do not come up or refuse what the scenario asks of them.
pub async fn run(whose: Implementation, options: &Options) -> Result<Value, FleetError> {
    eprintln!("{}: starting {whose:?}", options.scenario.name());
    let servers = tokio::task::block_in_place(|| Servers::start(whose, options))?;
    if options.scenario == Scenario::Register {
        return register(&servers, options).await;
    }
    if options.scenario.is_push() {
        return push::run(servers, options).await;
    }
    let keys = FleetKeys::generate(options.ak)?;
    let identity = keys.identity.clone();
    let files = MeasuredFiles::new(options.policy_files());
    let population = Arc::new(Population::new(options.agents, keys, files, options.new_entries));
    let acceptor = servers.agent_acceptor(identity)?;
    let listener = Listener::start(Arc::clone(&population), acceptor, options.idle_close())?;
    let enroller =
        Enroller { verifier: servers.verifier()?, agent_port: listener.port(), connections: options.connections };
    enroller.store_policy(&population).await?;
    let run = Run { servers, population, enroller, options, _listener: listener };
    match options.scenario {
        Scenario::Quotes => run.quotes().await,
        Scenario::Enrol => run.enrolments().await,
        Scenario::Memory => run.memory().await,
        Scenario::Revocations => run.revocations().await,
        Scenario::Push | Scenario::PushMemory | Scenario::PushRestart | Scenario::Register => {
            Err(FleetError::Setup("this scenario needs no agents that listen".to_owned()))
        }
    }
}

/// A verifier and a fleet that listens.
struct Run<'o> {
    servers: Servers,
    population: Arc<Population>,
    enroller: Enroller,
    options: &'o Options,
    _listener: Listener,
}

impl Run<'_> {
    fn usage(&self) -> Result<ProcessUsage, FleetError> {
        Ok(ProcessUsage::of_tree(self.servers.verifier_pid())?)
    }

    /// Enrols everybody; answers enrolments per second and milliseconds of processor time per enrolment. The first quotes,
    /// which begin meanwhile, are part of both.
    async fn enrol_all(&self) -> Result<(f64, f64), FleetError> {
        let (agents, before) = (self.options.agents, self.usage()?);
        let took = self.enroller.enrol(&self.population, 0..agents).await?;
        let cpu = self.usage()?.cpu_seconds - before.cpu_seconds;
        let rate = f64::from(agents) / took.as_secs_f64();
        eprintln!("  {agents} agents enrolled, {rate:.0} per second");
        Ok((rounded(rate), rounded(cpu * 1000.0 / f64::from(agents))))
    }

    /// Waits until each of the first `count` agents was asked for a quote.
    async fn wait_until_asked(&self, count: u32) -> Result<(), FleetError> {
        let limit = Duration::from_secs_f64(120.0 + 5.0 * self.options.interval() + f64::from(count) * 0.1);
        let start = Instant::now();
        loop {
            let asked = self.population.asked(count);
            if asked >= count as usize {
                return Ok(());
            }
            if start.elapsed() > limit {
                let log = self.servers.verifier_log_end();
                return Err(FleetError::Setup(format!(
                    "only {asked} of {count} agents were asked for a quote:\n{log}"
                )));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn quotes(&self) -> Result<Value, FleetError> {
        let (enrolments_per_s, _) = self.enrol_all().await?;
        self.wait_until_asked(self.options.agents).await?;
        sleep(Duration::from_secs_f64(self.options.interval().clamp(2.0, 30.0))).await;
        eprintln!("  measuring for {} s", self.options.duration);
        let observations = &self.population.observations;
        let (usage, counts, start) = (self.usage()?, observations.counts(), Instant::now());
        observations.start_recording();
        sleep(Duration::from_secs_f64(self.options.duration)).await;
        let gaps = observations.stop_recording();
        let (seconds, after, now) = (start.elapsed().as_secs_f64(), observations.counts(), self.usage()?);
        let quotes = (after.quotes - counts.quotes) as f64;
        let cpu = now.cpu_seconds - usage.cpu_seconds;
        Ok(json!({
            "quotes": quotes,
            "quotes_per_s": rounded(quotes / seconds),
            "cpu_ms_per_quote": if quotes > 0.0 { Some(rounded(cpu * 1000.0 / quotes)) } else { None },
            "cpu_cores": rounded(cpu / seconds),
            "lateness": lateness(gaps, self.options.interval()).summary(),
            "handshakes": after.handshakes - counts.handshakes,
            "failed_handshakes": after.failed_handshakes - counts.failed_handshakes,
            "refused_requests": after.refused_requests - counts.refused_requests,
            "enrolments_per_s": enrolments_per_s,
            "rss_bytes": now.rss_bytes,
            "processes": now.processes,
            "states": self.enroller.states().await?,
        }))
    }

    async fn enrolments(&self) -> Result<Value, FleetError> {
        let (enrolments_per_s, cpu_ms_per_enrolment) = self.enrol_all().await?;
        self.wait_until_asked(self.options.agents).await?;
        Ok(json!({
            "enrolments_per_s": enrolments_per_s,
            "cpu_ms_per_enrolment": cpu_ms_per_enrolment,
            "states": self.enroller.states().await?,
        }))
    }

    /// Resident memory once everybody enrolled was asked and all connections are closed, by the agents when they idle.
    async fn resident(&self, count: u32) -> Result<u64, FleetError> {
        self.wait_until_asked(count).await?;
        let limit = self.options.idle_close() + Duration::from_secs(60);
        let start = Instant::now();
        while self.population.observations.open_connections() > 0 {
            if start.elapsed() > limit {
                return Err(FleetError::Setup("connections stay open; choose a longer interval".to_owned()));
            }
            sleep(Duration::from_millis(200)).await;
        }
        sleep(SETTLE).await;
        let rss = self.usage()?.rss_bytes;
        eprintln!("  {rss} bytes resident with {count} agents");
        Ok(rss)
    }

    async fn memory(&self) -> Result<Value, FleetError> {
        let (few, all) = ((self.options.agents / 20).max(1), self.options.agents);
        if few == all {
            return Err(FleetError::Setup("memory per agent needs at least two agents".to_owned()));
        }
        self.enroller.enrol(&self.population, 0..few).await?;
        let rss_of_few = self.resident(few).await?;
        self.enroller.enrol(&self.population, few..all).await?;
        let rss_bytes = self.resident(all).await?;
        let grown = rss_bytes as f64 - rss_of_few as f64;
        Ok(json!({
            "memory_per_agent_bytes": rounded(grown / f64::from(all - few)),
            "agents_at_first": few,
            "rss_bytes_at_first": rss_of_few,
            "rss_bytes": rss_bytes,
            "connections": "closed by idle agents before each reading",
            "states": self.enroller.states().await?,
        }))
    }
}

/// How much later than the interval each quote was asked for, as a share of the interval.
fn lateness(gaps: Vec<f64>, interval: f64) -> Spread {
    Spread::new(gaps.into_iter().map(|gap| (gap - interval) / interval).collect())
}

async fn register(servers: &Servers, options: &Options) -> Result<Value, FleetError> {
    let keys = FleetKeys::generate(options.ak)?;
    let maker = Manufacturer::found("bench manufacturer")?;
    let applicants: Vec<Applicant> =
        (0..options.agents).map(|n| Applicant::new(AgentNumber(n), &keys, &maker)).collect::<Result<_, _>>()?;
    let pid = servers.registrar_pid().ok_or_else(|| FleetError::Setup("registrar is absent".to_owned()))?;
    let before = ProcessUsage::of_tree(pid)?;
    let took = register_all(&servers.registrar(), applicants, options.connections).await?;
    let after = ProcessUsage::of_tree(pid)?;
    let agents = f64::from(options.agents);
    Ok(json!({
        "registrations_per_s": rounded(agents / took.as_secs_f64()),
        "cpu_ms_per_registration": rounded((after.cpu_seconds - before.cpu_seconds) * 1000.0 / agents),
        "rss_bytes": after.rss_bytes,
        "processes": after.processes,
    }))
}
