//! What is measured.

use super::measured_process::{Cost, measure, median};
use super::options::{Options, Tool};
use super::rpm_repository;
use crate::fleet::FleetError;
use crate::fleet::enrolment::Enroller;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::measured_files::MeasuredFiles;
use crate::fleet::options::Options as FleetOptions;
use crate::fleet::population::Population;
use crate::fleet::process_usage::{peak_of_tree, reset_peak_of_tree};
use crate::fleet::servers::Servers;
use crate::fleet::spread::rounded;
use clap::Parser as _;
use keylime_harness::stack::Implementation;
use keylime_harness::{binaries, peer};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A directory for inputs and outputs.
pub struct Trial<'o> {
    options: &'o Options,
    directory: TempDir,
    runtime: Runtime,
}

impl<'o> Trial<'o> {
    /// Makes what the tools read.
    ///
    /// # Errors
    /// The inputs cannot be written, or the reference cannot be installed.
    pub fn new(options: &'o Options) -> Result<Self, FleetError> {
        let directory = TempDir::with_prefix("keylime-tools-")?;
        if options.tools().contains(&Tool::Rpm) {
            eprintln!("making {} packages", options.packages);
            rpm_repository::write(&directory.path().join("repository"), options.packages, options.files)?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Self { options, directory, runtime })
    }

    /// Measures one tool of one side.
    ///
    /// # Errors
    /// The tool fails.
    pub fn run(&self, tool: Tool, whose: Implementation) -> Result<Value, FleetError> {
        if whose == Implementation::Peer {
            peer::ensure()?;
        }
        eprintln!("{}: {whose:?}", tool.name());
        match tool {
            Tool::Rootfs => self.policy(whose, "--rootfs", self.options.rootfs.clone()),
            Tool::Rpm => self.policy(whose, "--local-rpm-repo", self.directory.path().join("repository")),
            Tool::Cvlist => self.tenant(whose, "cvlist", 1),
            Tool::Bulkinfo => {
                let agents = match whose {
                    Implementation::Ours => self.options.agents,
                    Implementation::Peer => self.options.peer_agents,
                };
                self.tenant(whose, "bulkinfo", agents)
            }
        }
    }

    fn policy(&self, whose: Implementation, option: &str, place: PathBuf) -> Result<Value, FleetError> {
        let mut command = Command::new(program(whose, "keylime-policy"));
        command.args(["create", "runtime", option]).arg(place).arg("--output").arg("/dev/stdout");
        let result = figures(self.repeat(&command)?);
        let policy: Value = serde_json::from_slice(&fs::read(self.output())?)
            .map_err(|e| FleetError::Setup(format!("{command:?} wrote no policy: {e}")))?;
        let digests = policy["digests"].as_object().map_or(0, Map::len);
        Ok(with(result, json!({ "digests": digests })))
    }

    /// Agents are enrolled to be pushed, so that the verifier does nothing else meanwhile.
    fn tenant(&self, whose: Implementation, command: &str, agents: u32) -> Result<Value, FleetError> {
        let fleet = FleetOptions::parse_from(["fleet", "--scenario", "push-memory", "--agents", &agents.to_string()]);
        let servers = Servers::start(whose, &fleet)?;
        self.runtime.block_on(enrol(&servers, &fleet))?;
        let mut tenant = servers.command(program(whose, "keylime_tenant"));
        tenant.args(["-c", command]);
        reset_peak_of_tree(servers.verifier_pid())?;
        let before = peak_of_tree(servers.verifier_pid())?;
        let result = figures(self.repeat(&tenant)?);
        let peak = peak_of_tree(servers.verifier_pid())?;
        let bytes = fs::metadata(self.output())?.len();
        let server = json!({
            "agents": agents, "output_bytes": bytes,
            "server_before_bytes": before, "server_peak_bytes": peak, "server_growth_bytes": peak.saturating_sub(before),
        });
        Ok(with(result, server))
    }

    /// The first run fills caches and does not count.
    fn repeat(&self, command: &Command) -> Result<Vec<Cost>, FleetError> {
        measure(command, &self.output())?;
        (0..self.options.runs).map(|_| measure(command, &self.output())).collect()
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("output")
    }
}

async fn enrol(servers: &Servers, options: &FleetOptions) -> Result<(), FleetError> {
    let keys = FleetKeys::generate(options.ak)?;
    let population = Arc::new(Population::new(options.agents, keys, MeasuredFiles::new(options.policy_files()), 0));
    let enroller = Enroller { verifier: servers.verifier()?, agent_port: 9002, connections: options.connections };
    enroller.store_policy(&population).await?;
    enroller.enrol(&population, 0..options.agents).await?;
    Ok(())
}

fn program(whose: Implementation, name: &str) -> PathBuf {
    match whose {
        Implementation::Ours => binaries::path(name),
        Implementation::Peer => peer::program(name),
    }
}

fn figures(costs: Vec<Cost>) -> Value {
    let all: Vec<f64> = costs.iter().map(|cost| rounded(cost.seconds)).collect();
    let Some(cost) = median(costs) else { return Value::Null };
    json!({
        "seconds": rounded(cost.seconds),
        "cpu_seconds": rounded(cost.cpu_seconds),
        "peak_bytes": cost.peak_bytes,
        "all_seconds": all,
    })
}

fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut value, more) {
        members.extend(more);
    }
    value
}

/// How many times better ours are.
#[must_use]
pub fn ratios(ours: &Value, peer: &Value) -> Value {
    let ratio = |name: &str| Some(((peer[name].as_f64()? / ours[name].as_f64()?) * 10.0).round() / 10.0);
    let names = ["seconds", "cpu_seconds", "peak_bytes"];
    Value::Object(names.iter().filter_map(|name| Some(((*name).to_owned(), json!(ratio(name)?)))).collect())
}
