#![doc = include_str!("README.md")]

use super::parsed_log::ParsedBootLog;
use super::policy::Reason;
use crate::tpm::pcr_mask::PcrMask;
use regorus::Engine;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::{Value, json};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A file with a policy. Reading it is the caller's business.
#[derive(Debug, Clone, Copy)]
pub struct PolicySource<'s> {
    /// Its path, as errors name it.
    pub path: &'s str,
    /// Its text.
    pub text: &'s str,
}

/// Why a policy in Rego cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegoError {
    /// It does not compile. The text names file and line.
    #[error("a policy does not compile: {0}")]
    Compile(String),
    /// A file is too large.
    #[error("{path}: {size} bytes are more than the {MAX_SOURCE_BYTES} of one policy")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: usize,
    },
    /// A policy has the name of one that is built in.
    #[error("{path}: package {PACKAGE}.{name} has the name of a built-in policy")]
    Reserved {
        /// The file.
        path: String,
        /// The name.
        name: String,
    },
    /// A policy lacks the rule that is asked for.
    #[error("package {PACKAGE}.{0} has no rule deny")]
    NoDeny(String),
    /// `relevant_pcrs` is no set of PCRs.
    #[error("package {PACKAGE}.{name}: relevant_pcrs is {value}, not a set of numbers from 0 to 9 and 11 to 15")]
    RelevantPcrs {
        /// The policy.
        name: String,
        /// What it is.
        value: String,
    },
}

/// The package whose members are boot policies.
pub const PACKAGE: &str = "keylime.boot";

/// Largest policy file.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Largest input of an evaluation, as JSON. Real logs come to a few hundred KiB.
pub const MAX_INPUT_BYTES: usize = 8 << 20;

/// Longest evaluation.
pub const MAX_EVALUATION: Duration = Duration::from_secs(1);

/// Steps of the evaluation between two looks at the clock.
const STEPS_PER_CHECK: NonZeroU32 = NonZeroU32::new(256).unwrap();

/// The operator's policies.
pub struct RegoPolicies {
    engine: Engine,
    /// Names in [`PACKAGE`].
    names: Vec<String>,
}

impl RegoPolicies {
    /// Compiles policies.
    ///
    /// # Errors
    /// See [`RegoError`].
    pub fn compile(sources: &[PolicySource<'_>], is_reserved: fn(&str) -> bool) -> Result<Self, RegoError> {
        let mut engine = Engine::new();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: MAX_EVALUATION,
            check_interval: STEPS_PER_CHECK,
        });
        let mut names = Vec::new();
        for source in sources {
            if source.text.len() > MAX_SOURCE_BYTES {
                return Err(RegoError::TooLarge { path: source.path.to_owned(), size: source.text.len() });
            }
            let package = engine
                .add_policy(source.path.to_owned(), source.text.to_owned())
                .map_err(|error| RegoError::Compile(error.to_string()))?;
            let Some(name) = package.strip_prefix("data.keylime.boot.") else { continue };
            if is_reserved(name) || is_reserved(&name.replace('_', "-")) {
                return Err(RegoError::Reserved { path: source.path.to_owned(), name: name.to_owned() });
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        let policies = Self { engine, names };
        policies.try_all()?;
        Ok(policies)
    }

    /// The policy of this name; a hyphen in it stands for an underscore in the package.
    ///
    /// # Errors
    /// Its `relevant_pcrs` is no set of PCRs.
    pub fn policy(&self, name: &str) -> Result<Option<RegoPolicy>, RegoError> {
        let package = name.replace('-', "_");
        if !self.names.contains(&package) {
            return Ok(None);
        }
        Ok(Some(RegoPolicy {
            relevant_pcrs: self.relevant_pcrs(&package)?,
            rule: rule(&package, "deny").into(),
            engine: Arc::new(Mutex::new(self.engine.clone())),
        }))
    }

    /// Evaluates every policy on an empty log: what does not compile shows before the first agent is judged.
    fn try_all(&self) -> Result<(), RegoError> {
        for name in &self.names {
            let mut engine = self.engine.clone();
            let input = json!({ "log": { "version": 2, "events": [] }, "refstate": {}, "pcrs": {} });
            engine.set_input(regorus::Value::from(input));
            if let Err(error) = engine.eval_rule(rule(name, "deny")) {
                let text = error.to_string();
                return Err(if is_unknown_rule(&text) {
                    RegoError::NoDeny(name.clone())
                } else {
                    RegoError::Compile(text)
                });
            }
        }
        Ok(())
    }

    fn relevant_pcrs(&self, name: &str) -> Result<PcrMask, RegoError> {
        let mut engine = self.engine.clone();
        engine.set_input(regorus::Value::new_object());
        let value = match engine.eval_rule(rule(name, "relevant_pcrs")) {
            Err(error) if is_unknown_rule(&error.to_string()) => return Ok(PcrMask::EMPTY),
            Err(error) => return Err(RegoError::Compile(error.to_string())),
            Ok(value) => as_json(&value),
        };
        let wrong = || RegoError::RelevantPcrs { name: name.to_owned(), value: value.to_string() };
        let list = value.as_array().ok_or_else(wrong)?;
        let pcr = |value: &Value| {
            let pcr = value.as_u64().and_then(|pcr| u8::try_from(pcr).ok());
            pcr.filter(|pcr| super::policy::BOOT_PCRS.contains(pcr)).ok_or_else(wrong)
        };
        Ok(PcrMask::of(list.iter().map(pcr).collect::<Result<Vec<_>, _>>()?))
    }
}

/// One policy in Rego.
#[derive(Clone)]
pub struct RegoPolicy {
    /// Compiled; each evaluation works on a copy.
    engine: Arc<Mutex<Engine>>,
    rule: Arc<str>,
    relevant_pcrs: PcrMask,
}

impl fmt::Debug for RegoPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegoPolicy").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl RegoPolicy {
    /// The PCRs it needs.
    #[must_use]
    pub fn relevant_pcrs(&self) -> PcrMask {
        self.relevant_pcrs
    }

    /// Evaluates the policy.
    ///
    /// # Errors
    /// The reasons in `deny`, or why it could not be evaluated to an end; a log never passes because of an error.
    pub fn evaluate(&self, log: Option<&ParsedBootLog>, state: &Value) -> Result<(), Reason> {
        let failed = |problem: String| Reason::new(format!("policy evaluation failed: {problem}"));
        let input = input(log, state);
        if input.len() > MAX_INPUT_BYTES {
            return Err(failed(format!("the input of {} bytes exceeds {MAX_INPUT_BYTES}", input.len())));
        }
        let input = regorus::Value::from_json_str(&input).map_err(|error| failed(error.to_string()))?;
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        engine.set_input(input);
        let denied = engine.eval_rule(self.rule.to_string()).map_err(|error| failed(error.to_string()))?;
        match &denied {
            regorus::Value::Set(_) | regorus::Value::Array(_) => {}
            regorus::Value::Undefined => return Err(failed("deny is undefined".to_owned())),
            _ => return Err(failed("deny is not a set".to_owned())),
        }
        let reasons: Vec<Reason> = as_json(&denied).as_array().into_iter().flatten().map(reason).collect();
        match <[Reason; 1]>::try_from(reasons) {
            Ok([reason]) => Err(reason),
            Err(reasons) if reasons.is_empty() => Ok(()),
            Err(reasons) => Err(Reason::none_of(reasons)),
        }
    }
}

/// A member of `deny`: a text, or an object with the text as `reason` and the number of an event as `event`.
fn reason(member: &Value) -> Reason {
    match (member.as_str(), member["reason"].as_str()) {
        (Some(text), _) => Reason::new(text),
        (None, Some(text)) => Reason::new(text).about(member["event"].as_u64()),
        (None, None) => Reason::new(member.to_string()),
    }
}

/// The input document. PCRs are in hexadecimal, because those in the log are numbers beyond what a policy can compare.
fn input(log: Option<&ParsedBootLog>, state: &Value) -> String {
    let pcrs = log.map(|log| {
        let banks = log.pcrs().banks().map(|bank| {
            let values = log.pcrs().values(bank).map(|(pcr, value)| (pcr.to_string(), json!(value.to_hex())));
            (bank.name().to_owned(), Value::Object(values.collect()))
        });
        Value::Object(banks.collect())
    });
    let nothing = json!({});
    let log = log.map_or(&nothing, ParsedBootLog::json);
    format!(r#"{{"log":{log},"refstate":{state},"pcrs":{}}}"#, pcrs.as_ref().unwrap_or(&nothing))
}

fn rule(policy: &str, name: &str) -> String {
    format!("data.{PACKAGE}.{policy}.{name}")
}

fn is_unknown_rule(error: &str) -> bool {
    error.contains("not a valid rule path")
}

fn as_json(value: &regorus::Value) -> Value {
    value.to_json_str().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
