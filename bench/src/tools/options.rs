//! The command line of `tools`.

use crate::fleet::agent_number::AgentNumber;
use crate::fleet::options::Subject;
use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Measures the operator's tools as whole processes and prints one JSON line for each.
///
/// The programs are those of the folder KEYLIME_BIN_DIR (build them with --release), or of the folder of this program; the
/// reference implementation is expected in the folder KEYLIME_PEER_DIR and installed there from PyPI if it is absent. Its tools
/// for policies read RPM packages only if Python finds the module rpm (Debian: python3-rpm). Policies are made as root only.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Whose tools are measured; `both` runs one after the other and adds ratios
    #[arg(long, value_enum, default_value_t = Subject::Ours)]
    pub whose: Subject,
    /// What is measured; all of it by default
    #[arg(long, value_enum)]
    pub tool: Vec<Tool>,
    /// Runs of each, after one that warms caches; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// The file system a policy is made of
    #[arg(long, default_value = "/usr")]
    pub rootfs: PathBuf,
    /// Packages in the repository
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub packages: u32,
    /// Files in each package
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub files: u32,
    /// Agents that bulkinfo tells about
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(AgentNumber::LIMIT)))]
    pub agents: u32,
    /// The same for the reference, which needs a sixth of a second to enrol one
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(AgentNumber::LIMIT)))]
    pub peer_agents: u32,
    /// Internal use.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the program does for itself.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Runs one program and prints what it needed as JSON
    #[command(hide = true)]
    Measure {
        /// File for its standard output
        #[arg(long)]
        output: PathBuf,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// `keylime-policy create runtime --rootfs`
    Rootfs,
    /// `keylime-policy create runtime --local-rpm-repo`
    Rpm,
    /// `keylime_tenant -c cvlist` with one agent enrolled
    Cvlist,
    /// `keylime_tenant -c bulkinfo` with many agents enrolled
    Bulkinfo,
}

impl Tool {
    /// As it is written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Rpm => "rpm",
            Self::Cvlist => "cvlist",
            Self::Bulkinfo => "bulkinfo",
        }
    }
}

impl Options {
    /// What is measured, in order.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        if self.tool.is_empty() { Tool::value_variants() } else { &self.tool }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        let options = Options::parse_from(["tools", "--tool", "rpm", "--tool", "cvlist"]);
        assert_eq!(options.tools(), [Tool::Rpm, Tool::Cvlist]);
        let all = Options::parse_from(["tools"]);
        assert_eq!(all.tools().len(), 4);
        let inner = Options::parse_from(["tools", "measure", "--output", "/dev/null", "ls", "--all", "-l"]);
        let Some(Task::Measure { command, .. }) = inner.task else { panic!("no task") };
        assert_eq!(command, ["ls", "--all", "-l"]);
    }
}
