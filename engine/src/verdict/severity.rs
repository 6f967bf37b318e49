//! Severity of failures: the operator's labels and the ordered rules that map event ids to them.
//!
//! Follows `revocation-and-severity.md` §3: rules match the whole event id as Python regular expressions, the first match
//! wins, an unknown label or no match means the highest label, and an irrecoverable failure always gets the highest.

use super::{Failure, Failures};
use crate::policy::python_regex::PythonRegex;

/// A severity: its place in the ascending list of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Severity(pub u8);

/// The configured labels and rules.
#[derive(Debug, Clone)]
pub struct SeverityPolicy {
    labels: Vec<String>,
    rules: Vec<(PythonRegex, Severity)>,
}

/// Why a severity configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSeverityPolicy {
    /// No labels, or more than 255.
    #[error("severity_labels must hold between 1 and 255 labels")]
    Labels,
    /// No rules.
    #[error("severity_policy must hold at least one rule")]
    Rules,
    /// A rule's pattern does not compile.
    #[error("severity_policy: pattern {pattern:?} does not compile: {reason}")]
    Pattern {
        /// The pattern as configured.
        pattern: String,
        /// What the regular-expression compiler says.
        reason: String,
    },
}

impl SeverityPolicy {
    /// Builds a policy from labels (lowest first) and (event id pattern, label) rules.
    ///
    /// # Errors
    /// See [`InvalidSeverityPolicy`].
    pub fn new(labels: Vec<String>, rules: &[(String, String)]) -> Result<Self, InvalidSeverityPolicy> {
        let Some(max) = labels.len().checked_sub(1).and_then(|n| u8::try_from(n).ok()) else {
            return Err(InvalidSeverityPolicy::Labels);
        };
        if rules.is_empty() {
            return Err(InvalidSeverityPolicy::Rules);
        }
        let rules = rules
            .iter()
            .map(|(pattern, label)| {
                let regex = PythonRegex::full_match(pattern)
                    .map_err(|e| InvalidSeverityPolicy::Pattern { pattern: pattern.clone(), reason: e.to_string() })?;
                let level = labels.iter().position(|l| l == label).and_then(|n| u8::try_from(n).ok()).unwrap_or(max);
                Ok((regex, Severity(level)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, rules })
    }

    /// The highest severity.
    #[must_use]
    pub fn max(&self) -> Severity {
        Severity(u8::try_from(self.labels.len() - 1).unwrap_or(u8::MAX))
    }

    /// The label of a severity.
    #[must_use]
    pub fn label(&self, severity: Severity) -> &str {
        self.labels.get(usize::from(severity.0)).map_or("", String::as_str)
    }

    /// The severity of one failure.
    #[must_use]
    pub fn severity_of(&self, failure: &Failure) -> Severity {
        if !failure.recoverable() {
            return self.max();
        }
        let id = failure.event_id();
        self.rules.iter().find(|(regex, _)| regex.is_match(&id)).map_or(self.max(), |(_, severity)| *severity)
    }

    /// The first failure that has the highest severity, with that severity.
    #[must_use]
    pub fn highest<'f>(&self, failures: &'f Failures) -> (&'f Failure, Severity) {
        let mut best = (failures.first(), self.severity_of(failures.first()));
        for failure in &failures.as_slice()[1..] {
            let severity = self.severity_of(failure);
            if severity > best.1 {
                best = (failure, severity);
            }
        }
        best
    }

    /// Whether attestation must stop: something is irrecoverable, or the highest severity was reached.
    #[must_use]
    pub fn stops_attestation(&self, failures: &Failures) -> bool {
        failures.as_slice().iter().any(|f| !f.recoverable()) || self.highest(failures).1 == self.max()
    }
}

impl Default for SeverityPolicy {
    /// Keylime's default: seven labels, and everything is an emergency.
    fn default() -> Self {
        let labels = ["info", "notice", "warning", "error", "critical", "alert", "emergency"];
        Self::new(labels.map(String::from).to_vec(), &[(".*".to_owned(), "emergency".to_owned())])
            .unwrap_or(Self { labels: vec!["emergency".to_owned()], rules: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::InternalFault;

    #[test]
    fn the_default_makes_everything_an_emergency() {
        let policy = SeverityPolicy::default();
        let failure = Failure::Internal(InternalFault::NotReachable);
        assert_eq!(policy.label(policy.severity_of(&failure)), "emergency");
        assert!(policy.stops_attestation(&Failures::one(failure)));
    }
}
