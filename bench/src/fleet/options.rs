//! The command line of `fleet`.

use super::agent_number::AgentNumber;
use clap::{Parser, ValueEnum};
use std::time::Duration;

/// Drives a verifier or registrar with a fleet of simulated agents and prints one JSON line.
///
/// The programs are those of the folder KEYLIME_BIN_DIR (build them with --release), or of the folder of this program; the
/// reference implementation is expected in the folder KEYLIME_PEER_DIR and installed there from PyPI if it is absent.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Options {
    /// Whose servers are measured; `both` runs one after the other and adds ratios
    #[arg(long, value_enum, default_value_t = Subject::Ours)]
    pub verifier: Subject,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Scenario::Quotes)]
    pub scenario: Scenario,
    /// Number of agents
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(AgentNumber::LIMIT)))]
    pub agents: u32,
    /// Seconds between the quotes of one agent [default: 2; 60 for enrol; 600 for the memory and restart scenarios]
    #[arg(long, value_parser = seconds)]
    pub interval: Option<f64>,
    /// Seconds for which is measured, after warm-up
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    pub duration: f64,
    /// Kind of the agents' attestation keys
    #[arg(long, value_enum, default_value_t = AttestationKeyKind::P256)]
    pub ak: AttestationKeyKind,
    /// Files in the runtime policy; 0 turns measurement lists off
    #[arg(long, default_value_t = 0)]
    pub policy_digests: u32,
    /// Entries that each measurement list grows by between two quotes; needs a policy
    #[arg(long, default_value_t = 0)]
    pub new_entries: u32,
    /// Connections on which enrolments, registrations or push attestations are sent
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub connections: u32,
    /// `max_workers` of the servers
    #[arg(long, default_value_t = 16)]
    pub workers: u32,
    /// Seconds after which an agent closes an idle connection [default: so many that connections are kept alive between
    /// quotes; 5 for memory]
    #[arg(long, value_parser = seconds)]
    pub idle_close: Option<f64>,
    /// Agents that fail in the scenario revocations [default: half of all]
    #[arg(long)]
    pub failing: Option<u32>,
    /// Milliseconds between two agents' failures in the scenario revocations; 0 lets all fail at once
    #[arg(long, default_value_t = 0)]
    pub failure_spacing: u32,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1e6).contains(&value) { Ok(value) } else { Err("not between 0.001 and 1000000".to_owned()) }
}

/// Whose servers are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// This project's
    Ours,
    /// Keylime 7.14.3's
    Peer,
    /// One after the other
    Both,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Quotes per second, CPU per quote, lateness
    Quotes,
    /// Enrolments per second
    Enrol,
    /// Registrations (register and activate) per second, CPU per registration
    Register,
    /// Memory per agent between a twentieth of the fleet and the whole fleet, all connections closed
    Memory,
    /// From the evidence to the subscriber on RabbitMQ
    Revocations,
    /// Push: attestations per second at saturation, CPU of each, latencies at half of that load
    Push,
    /// Push: memory per agent between a twentieth of the fleet and the whole fleet, all connections closed
    PushMemory,
    /// Push: how soon a restarted verifier serves again, and whether all tokens are still good
    PushRestart,
}

impl Scenario {
    /// Whether agents call the verifier.
    #[must_use]
    pub const fn is_push(self) -> bool {
        match self {
            Self::Push | Self::PushMemory | Self::PushRestart => true,
            Self::Quotes | Self::Enrol | Self::Register | Self::Memory | Self::Revocations => false,
        }
    }

    /// As it is written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quotes => "quotes",
            Self::Enrol => "enrol",
            Self::Register => "register",
            Self::Memory => "memory",
            Self::Revocations => "revocations",
            Self::Push => "push",
            Self::PushMemory => "push-memory",
            Self::PushRestart => "push-restart",
        }
    }
}

/// Kind of attestation keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttestationKeyKind {
    /// RSA 2048, RSASSA with SHA-256
    Rsa2048,
    /// P-256, ECDSA with SHA-256
    P256,
}

impl AttestationKeyKind {
    /// As it is written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::P256 => "p256",
        }
    }

    /// Family, size in bits and signature scheme as a push agent offers them (`verifier-v3-push.md` §4).
    #[must_use]
    pub const fn offered_algorithms(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Rsa2048 => ("rsa", 2048, "rsassa"),
            Self::P256 => ("ecc", 256, "ecdsa"),
        }
    }

    /// The agent's `enc_alg` and `sign_alg` (`agent-api.md` §2).
    #[must_use]
    pub const fn reported_algorithms(self) -> (&'static str, &'static str) {
        match self {
            Self::Rsa2048 => ("rsa2048", "rsassa"),
            Self::P256 => ("ecc256", "ecdsa"),
        }
    }
}

impl Options {
    /// Seconds between the quotes of one agent.
    #[must_use]
    pub fn interval(&self) -> f64 {
        self.interval.unwrap_or(match self.scenario {
            Scenario::Quotes | Scenario::Register | Scenario::Revocations | Scenario::Push => 2.0,
            Scenario::Enrol => 60.0,
            Scenario::Memory | Scenario::PushMemory | Scenario::PushRestart => 600.0,
        })
    }

    /// After which an agent closes an idle connection. Agents of the field do so after 5 seconds.
    #[must_use]
    pub fn idle_close(&self) -> Duration {
        let seconds = self.idle_close.unwrap_or(match self.scenario {
            Scenario::Quotes | Scenario::Register | Scenario::Enrol | Scenario::Revocations => {
                3.0 * self.interval() + 10.0
            }
            Scenario::Memory | Scenario::Push | Scenario::PushMemory | Scenario::PushRestart => 5.0,
        });
        Duration::from_secs_f64(seconds)
    }

    /// Files in the policy; a revocation needs a list to find the unknown file in, and a push agent something to be asked for.
    #[must_use]
    pub fn policy_files(&self) -> u32 {
        match self.scenario {
            Scenario::Revocations => self.policy_digests.max(1),
            Scenario::Push | Scenario::PushMemory | Scenario::PushRestart if self.policy_digests == 0 => 200,
            Scenario::Quotes
            | Scenario::Register
            | Scenario::Enrol
            | Scenario::Memory
            | Scenario::Push
            | Scenario::PushMemory
            | Scenario::PushRestart => self.policy_digests,
        }
    }

    /// Agents that fail.
    #[must_use]
    pub fn failing(&self) -> u32 {
        self.failing.unwrap_or(self.agents.div_ceil(2)).min(self.agents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        let options = Options::parse_from(["fleet", "--scenario", "revocations", "--agents", "9"]);
        assert_eq!((options.failing(), options.policy_files()), (5, 1));
        let push = Options::parse_from(["fleet", "--scenario", "push-memory"]);
        assert!(push.scenario.is_push() && push.policy_files() == 200 && push.interval() > 599.0);
        assert!(Options::try_parse_from(["fleet", "--interval", "0"]).is_err());
        assert!(Options::try_parse_from(["fleet", "--agents", "0"]).is_err());
    }
}
