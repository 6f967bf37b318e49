//! Boot policies: what a boot log has to look like.
//!
//! A policy has a name, chosen by `measured_boot_policy_name`; its text, stored with an agent, is the reference state it
//! compares logs with. The text is compiled once and shared by all evidence it judges (`measured-boot.md` §6 and §7).

pub mod combinator;
mod digest_set;
mod events;
mod example;

mod reason;
mod reference;
mod rejection;
mod signature_set;

pub use reason::Reason;
pub use rejection::{EventLabel, PolicyRejection};

use super::failure::MeasuredBootFailure;
use super::parsed_log::ParsedBootLog;
use crate::tpm::pcr_mask::PcrMask;
use combinator::Test;
use serde_json::Value;
use std::sync::Arc;

/// PCRs that a boot log is ever compared with: those firmware and boot loaders use.
pub const BOOT_PCRS: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

/// The policy an operator chose by name.
#[derive(Debug, Clone)]
pub struct BootPolicies {
    chosen: Chosen,
    name: Arc<str>,
}

#[derive(Debug, Clone)]
enum Chosen {
    AcceptAll,
    RejectAll,
    Example,
}

impl BootPolicies {
    /// The policy without which a boot log is only compared with the PCRs.
    pub const ACCEPT_ALL: &'static str = "accept-all";
    /// The policy that no log satisfies.
    pub const REJECT_ALL: &'static str = "reject-all";
    /// The policy that compares a log with a reference state.
    pub const EXAMPLE: &'static str = "example";

    /// The built-in policy of this name; an unknown name rejects everything, because the operator meant to check something.
    #[must_use]
    pub fn built_in(name: &str) -> Self {
        let (chosen, name) = match name {
            Self::ACCEPT_ALL => (Chosen::AcceptAll, Self::ACCEPT_ALL),
            Self::EXAMPLE => (Chosen::Example, Self::EXAMPLE),
            _ => (Chosen::RejectAll, Self::REJECT_ALL),
        };
        Self { chosen, name: name.into() }
    }

    /// Whether a name is one of the built-in policies.
    #[must_use]
    pub fn is_built_in(name: &str) -> bool {
        matches!(name, Self::ACCEPT_ALL | Self::REJECT_ALL | Self::EXAMPLE)
    }

    /// The policy's name, as failures carry it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The PCRs it needs; all of [`BOOT_PCRS`] are compared when it names none.
    #[must_use]
    pub fn relevant_pcrs(&self) -> PcrMask {
        match &self.chosen {
            Chosen::AcceptAll | Chosen::RejectAll => PcrMask::EMPTY,
            Chosen::Example => example::relevant_pcrs(),
        }
    }

    /// Compiles the text stored with an agent.
    #[must_use]
    pub fn compile(&self, text: Option<&str>) -> CompiledBootPolicy {
        let demands = match text {
            None | Some("") => Demands::None,
            Some(text) => match serde_json::from_str::<Value>(text) {
                Err(_) | Ok(Value::Null) => Demands::Invalid,
                Ok(state) if !is_truthy(&state) => Demands::None,
                Ok(state) => Demands::State { test: self.test(&state), text: rejection::shortened(text) },
            },
        };
        CompiledBootPolicy { policy: self.clone(), demands }
    }

    /// Evaluates the policy with a reference state, whatever that is.
    ///
    /// # Errors
    /// Why the log does not satisfy the policy, or why the reference state cannot be used.
    pub fn check_state(&self, state: &Value, log: &ParsedBootLog) -> Result<(), Reason> {
        self.test(state).map_err(Reason::new)?.evaluate(Some(log))
    }

    fn test(&self, state: &Value) -> Result<StateTest, String> {
        let test = match &self.chosen {
            Chosen::AcceptAll => Test::AcceptAll,
            Chosen::RejectAll => Test::RejectAll("reject all".to_owned()),
            Chosen::Example => example::test(state)?,
        };
        Ok(StateTest::Combinators(test))
    }
}

/// A policy with the reference state of an agent.
#[derive(Debug, Clone)]
pub struct CompiledBootPolicy {
    policy: BootPolicies,
    demands: Demands,
}

#[derive(Debug, Clone)]
enum Demands {
    /// No text, or a JSON value that says nothing: `{}`, `[]`, `0`, `""`, `false`.
    None,
    /// A text that is no JSON, or `null`.
    Invalid,
    /// A reference state.
    State {
        /// What it comes to; an error when the policy cannot be evaluated with it.
        test: Result<StateTest, String>,
        /// Its text, as far as failures quote it.
        text: Arc<str>,
    },
}

/// A policy with a reference state.
#[derive(Debug, Clone)]
enum StateTest {
    Combinators(Test),
}

impl StateTest {
    /// Evaluates the policy; a log that was not sent has no events.
    fn evaluate(&self, log: Option<&ParsedBootLog>) -> Result<(), Reason> {
        match self {
            Self::Combinators(test) => {
                let nothing = Value::Object(serde_json::Map::new());
                combinator::evaluate(test, log.map_or(&nothing, ParsedBootLog::json))
            }
        }
    }
}

impl CompiledBootPolicy {
    /// No policy: boot logs are read, and their boot aggregates used, but nothing is demanded of them.
    #[must_use]
    pub fn absent() -> Self {
        BootPolicies::built_in(BootPolicies::ACCEPT_ALL).compile(None)
    }

    /// Whether the text is neither empty nor JSON. No evidence passes with it.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self.demands, Demands::Invalid)
    }

    /// Whether a boot log has to be compared with anything.
    #[must_use]
    pub fn is_demanding(&self) -> bool {
        matches!(self.demands, Demands::State { .. })
    }

    /// Why the policy can never be evaluated with this reference state; `None` when it can.
    #[must_use]
    pub fn defect(&self) -> Option<&str> {
        match &self.demands {
            Demands::State { test: Err(defect), .. } => Some(defect),
            Demands::State { test: Ok(_), .. } | Demands::None | Demands::Invalid => None,
        }
    }

    /// PCRs whose quoted values have to be those of the log.
    #[must_use]
    pub fn compared_pcrs(&self) -> PcrMask {
        let all = PcrMask::of(BOOT_PCRS);
        let relevant = self.policy.relevant_pcrs();
        if relevant.is_empty() { all } else { all.intersection(relevant) }
    }

    /// Evaluates the policy on a log; `judged` are the PCRs whose quoted value was compared with something. A log that was
    /// not sent has no events.
    #[must_use]
    pub fn evaluate(&self, log: Option<&ParsedBootLog>, judged: PcrMask) -> Option<MeasuredBootFailure> {
        let Demands::State { test, text } = &self.demands else { return None };
        let missing = self.policy.relevant_pcrs().difference(judged);
        if !missing.is_empty() {
            let policy = self.policy.name().to_owned();
            return Some(MeasuredBootFailure::MissingPcrs { pcrs: missing.iter().collect(), policy });
        }
        let reason = match test {
            Ok(test) => test.evaluate(log).err(),
            Err(defect) => Some(Reason::new(format!("policy evaluation failed: {defect}"))),
        };
        let rejection = PolicyRejection::new(self.policy.name(), Arc::clone(text), &reason?, log);
        Some(MeasuredBootFailure::Rejected(Box::new(rejection)))
    }
}

/// Whether Python takes a JSON value for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests;
