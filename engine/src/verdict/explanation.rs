//! What a failure means for people: where it is, which entry of which policy it is about, and what would make it pass.
//!
//! Keylime's event id and context stay as they are for programs that know them; this is beside them.

use super::failure::{Failure, Failures};
use crate::ima::{EntryProblem, ImaFailure};
use crate::tpm::failure::PcrFailure;

/// Most failures of one appraisal that are explained.
pub const MAX_EXPLANATIONS: usize = 64;

/// Longest text in an explanation, in bytes.
pub const MAX_EXPLANATION_TEXT: usize = 1024;

/// Most expected values that are named.
const MAX_EXPECTED: usize = 8;

/// A failure, explained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Keylime's event id.
    pub event_id: String,
    /// Line of the measurement list as it was sent, counted from one.
    pub line: Option<u64>,
    /// What failed: a file, a key ring, a register.
    pub subject: Option<String>,
    /// The place in the policy that decided, as a JSON pointer (RFC 6901) after the policy's name.
    pub policy_entry: Option<String>,
    /// What was measured.
    pub found: Option<String>,
    /// What the policy asks for.
    pub expected: Vec<String>,
    /// One sentence that says all of it.
    pub text: String,
    /// What would make it pass, if that is what the operator wants.
    pub remedy: Option<String>,
}

impl Explanation {
    /// Explains the first [`MAX_EXPLANATIONS`] failures of an appraisal.
    #[must_use]
    pub fn of_all(failures: &Failures) -> Vec<Self> {
        failures.as_slice().iter().take(MAX_EXPLANATIONS).map(Self::of).collect()
    }

    /// Explains a failure.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        let explanation = match failure {
            Failure::Ima(failure) => Self::of_ima(failure),
            Failure::Pcr(failure) => Self::of_pcr(failure),
            Failure::Quote(_) => Self {
                remedy: remedy("look at the agent: no policy makes a quote pass that is not authentic and fresh"),
                ..Self::default()
            },
            Failure::MeasuredBoot(_) => Self { policy_entry: Some("mb_policy".to_owned()), ..Self::default() },
            Failure::Internal(_) => Self::default(),
        };
        explanation.finish(failure)
    }

    fn of_ima(failure: &ImaFailure) -> Self {
        let text = failure.detail();
        match failure {
            ImaFailure::Entry { line, name, problem } => {
                let subject = Some(name.clone()).filter(|name| !name.is_empty());
                Self { line: Some(*line), subject, text, ..Self::of_problem(name, problem) }
            }
            ImaFailure::PcrMismatch { quoted } => Self {
                subject: Some("PCR 10".to_owned()),
                found: Some(quoted.clone()),
                text,
                remedy: remedy(
                    "have the agent attested anew, so that the whole list is sent; if it fails again, reboot it",
                ),
                ..Self::default()
            },
            ImaFailure::QuoteProgress { .. } => Self { subject: Some("PCR 10".to_owned()), text, ..Self::default() },
        }
    }

    fn of_problem(name: &str, problem: &EntryProblem) -> Self {
        match problem {
            EntryProblem::NotInPolicy { table, got } => Self {
                policy_entry: Some(pointer("runtime_policy", &[table.key(), name])),
                found: Some(got.clone()),
                remedy: remedy(&format!("add {got} under this entry, or exclude the name")),
                ..Self::default()
            },
            EntryProblem::OtherDigest { table, got, expected } => Self {
                policy_entry: Some(pointer("runtime_policy", &[table.key(), name])),
                found: Some(got.clone()),
                expected: expected.clone(),
                remedy: remedy(&format!("add {got} under this entry, if this version is meant to run")),
                ..Self::default()
            },
            EntryProblem::Violation => Self {
                policy_entry: Some("verifier.conf/ignore_tomtou_errors".to_owned()),
                remedy: remedy("exclude the file from the machine's IMA policy, or set ignore_tomtou_errors"),
                ..Self::default()
            },
            EntryProblem::TemplateHash { logged, .. } => Self {
                policy_entry: Some(pointer("runtime_policy", &["ima", "log_hash_alg"])),
                found: Some(hex::encode(logged)),
                remedy: remedy("set log_hash_alg to the hash the list was written with, if that is the reason"),
                ..Self::default()
            },
            EntryProblem::InvalidSignature => Self {
                policy_entry: Some(pointer("runtime_policy", &["verification-keys"])),
                remedy: remedy("add the key that signed the file, or list the file's digest"),
                ..Self::default()
            },
            EntryProblem::InvalidKey { .. } => Self {
                policy_entry: Some(pointer("runtime_policy", &["ima", "ignored_keyrings"])),
                remedy: remedy("ignore the key ring, if its keys need not be known"),
                ..Self::default()
            },
            EntryProblem::DeviceMapper(_) => {
                Self { policy_entry: Some(pointer("runtime_policy", &["ima", "dm_policy"])), ..Self::default() }
            }
            EntryProblem::OtherPcr { got } => Self { found: Some(got.clone()), ..Self::default() },
            EntryProblem::Unreadable { text, .. } => Self { found: Some(text.clone()), ..Self::default() },
        }
    }

    fn of_pcr(failure: &PcrFailure) -> Self {
        match failure {
            PcrFailure::Invalid { pcr, got, expected } => Self {
                subject: Some(format!("PCR {pcr}")),
                policy_entry: Some(pointer("tpm_policy", &[&pcr.to_string()])),
                found: Some(got.clone()),
                expected: expected.clone(),
                text: format!("PCR {pcr} has the value {got}, which tpm_policy does not list"),
                remedy: remedy(&format!("add {got} under this entry, if the machine is meant to be in this state")),
                ..Self::default()
            },
            PcrFailure::InvalidDataPcr { got, expected } => Self {
                subject: Some("PCR 16".to_owned()),
                found: Some(got.clone()),
                expected: vec![expected.clone()],
                text: "PCR 16 does not hold the agent's payload key".to_owned(),
                remedy: remedy("restart the agent; another program must not extend PCR 16"),
                ..Self::default()
            },
            PcrFailure::MissingDataPcr => Self {
                subject: Some("PCR 16".to_owned()),
                text: "PCR 16, which binds the payload key, is not in the quote".to_owned(),
                ..Self::default()
            },
            PcrFailure::Unused(pcr) => Self {
                subject: Some(format!("PCR {pcr}")),
                text: format!("PCR {pcr} was quoted, but the log that explains it was not sent"),
                remedy: remedy("let the agent read its log, or take the register out of the mask"),
                ..Self::default()
            },
            PcrFailure::Missing(pcrs) => Self {
                subject: Some(list(pcrs)),
                policy_entry: Some(pointer("tpm_policy", &["mask"])),
                text: format!("{} must be quoted and is not", list(pcrs)),
                remedy: remedy("add the registers to the mask, and see that the TPM has them in the quoted bank"),
                ..Self::default()
            },
            PcrFailure::InvalidBootPolicy => Self {
                policy_entry: Some("mb_policy".to_owned()),
                text: "the measured boot policy is not JSON".to_owned(),
                ..Self::default()
            },
            PcrFailure::InvalidEvaluate(value) => Self {
                policy_entry: Some("verifier.conf/measured_boot_evaluate".to_owned()),
                found: Some(value.clone()),
                expected: vec!["once".to_owned(), "always".to_owned()],
                text: "measured_boot_evaluate has an unknown value".to_owned(),
                ..Self::default()
            },
        }
    }

    /// Fills what every failure has, and bounds all texts.
    fn finish(mut self, failure: &Failure) -> Self {
        self.event_id = failure.event_id();
        if self.text.is_empty() {
            self.text = failure.context().to_string();
        }
        self.expected.truncate(MAX_EXPECTED);
        let optional = [&mut self.subject, &mut self.policy_entry, &mut self.found, &mut self.remedy];
        for text in optional.into_iter().flatten().chain(&mut self.expected).chain([&mut self.text, &mut self.event_id])
        {
            text.truncate(text.floor_char_boundary(MAX_EXPLANATION_TEXT));
        }
        self
    }
}

fn remedy(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pointer(policy: &str, steps: &[&str]) -> String {
    let escaped = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
    std::iter::once(policy.to_owned()).chain(escaped).collect()
}

fn list(pcrs: &[u8]) -> String {
    let names: Vec<String> = pcrs.iter().map(|pcr| format!("PCR {pcr}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ima::PolicyTable;

    fn entry(name: &str, problem: EntryProblem) -> Failure {
        Failure::Ima(ImaFailure::Entry { line: 7, name: name.to_owned(), problem })
    }

    #[test]
    fn an_unlisted_file_names_line_entry_and_remedy() {
        let problem = EntryProblem::NotInPolicy { table: PolicyTable::Digests, got: "ab".repeat(32) };
        let explanation = Explanation::of(&entry("/usr/bin/a~b", problem));
        assert_eq!(explanation.event_id, "ima.validation.ima-ng.not_in_allowlist");
        assert_eq!((explanation.line, explanation.subject.as_deref()), (Some(7), Some("/usr/bin/a~b")));
        assert_eq!(explanation.policy_entry.as_deref(), Some("runtime_policy/digests/~1usr~1bin~1a~0b"));
        assert!(explanation.remedy.unwrap().contains(&"ab".repeat(32)));
        assert!(explanation.text.starts_with("line 7: "), "{}", explanation.text);
    }

    #[test]
    fn a_register_names_found_and_expected() {
        let failure = PcrFailure::Invalid { pcr: 7, got: "aa".to_owned(), expected: vec!["bb".to_owned(); 20] };
        let explanation = Explanation::of(&Failure::Pcr(failure));
        assert_eq!(explanation.policy_entry.as_deref(), Some("tpm_policy/7"));
        assert_eq!((explanation.found.as_deref(), explanation.expected.len()), (Some("aa"), MAX_EXPECTED));
    }

    #[test]
    fn nothing_is_longer_than_its_bound() {
        let problem = EntryProblem::OtherDigest {
            table: PolicyTable::Digests,
            got: "é".repeat(4000),
            expected: vec!["é".repeat(4000)],
        };
        let explanation = Explanation::of(&entry(&"ü".repeat(4000), problem));
        let texts = [explanation.subject, explanation.policy_entry, explanation.found, explanation.remedy];
        for text in texts.into_iter().flatten().chain(explanation.expected).chain([explanation.text]) {
            assert!(text.len() <= MAX_EXPLANATION_TEXT);
        }
        let many = vec![Failure::Pcr(PcrFailure::MissingDataPcr); 1000];
        assert_eq!(Explanation::of_all(&Failures::from_vec(many).unwrap()).len(), MAX_EXPLANATIONS);
    }
}
