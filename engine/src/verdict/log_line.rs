//! Failures as lines of the verifier's log, in the words that operators' scripts look for.

use super::{Failure, Failures};
use crate::ima::{EntryProblem, ImaFailure, PolicyTable};
use crate::tpm::failure::PcrFailure;

/// Most lines about one attestation.
pub const MAX_LINES: usize = 64;

/// Which of Keylime's loggers writes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logger {
    /// `keylime.ima`, as a warning.
    ImaWarning,
    /// `keylime.ima`, as an error.
    ImaError,
    /// `keylime.tpm`, as an error.
    TpmError,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Who writes it.
    pub logger: Logger,
    /// What it says; nothing in it starts a line of its own (CVE-2022-23949).
    pub text: String,
}

/// The lines about the failures of one attestation, at most [`MAX_LINES`]. Failures that Keylime has no line for have none.
#[must_use]
pub fn log_lines(agent_id: &str, failures: &Failures) -> Vec<LogLine> {
    let failures = failures.as_slice();
    let mut lines: Vec<LogLine> =
        failures.iter().filter_map(|failure| line(agent_id, failure)).take(MAX_LINES - 1).collect();
    let entries = failures.iter().filter(|failure| matches!(failure, Failure::Ima(ImaFailure::Entry { .. }))).count();
    if entries > 0 {
        let text = format!("IMA ERRORS: Some entries couldn't be validated. Number of failures: {entries}.");
        lines.push(LogLine { logger: Logger::ImaError, text });
    }
    lines
}

fn line(agent_id: &str, failure: &Failure) -> Option<LogLine> {
    let (logger, text) = match failure {
        Failure::Ima(ImaFailure::Entry { name, problem, .. }) => entry(name, problem)?,
        Failure::Ima(ImaFailure::PcrMismatch { quoted }) => {
            (Logger::ImaError, format!("IMA measurement list does not match TPM PCR {quoted}"))
        }
        Failure::Ima(ImaFailure::QuoteProgress { .. }) => {
            (Logger::ImaError, "PCR quote did not make progress to catch up with the log".to_owned())
        }
        Failure::Pcr(PcrFailure::Invalid { pcr, got, expected }) => (
            Logger::TpmError,
            format!(
                "PCR #{pcr}: {got} from quote (from agent {agent_id}) does not match expected value {}",
                expected.join(", ")
            ),
        ),
        Failure::Pcr(PcrFailure::Missing(pcrs)) => {
            (Logger::TpmError, format!("PCRs specified in policy not in quote (from agent {agent_id}): {pcrs:?}"))
        }
        Failure::Pcr(_) | Failure::Quote(_) | Failure::MeasuredBoot(_) | Failure::Internal(_) => return None,
    };
    Some(LogLine { logger, text: text.chars().flat_map(one_line).collect() })
}

fn entry(name: &str, problem: &EntryProblem) -> Option<(Logger, String)> {
    Some(match problem {
        EntryProblem::NotInPolicy { table: PolicyTable::Digests, .. } => {
            (Logger::ImaWarning, format!("File not found in allowlist: {name}"))
        }
        EntryProblem::OtherDigest { table: PolicyTable::Digests, got, expected } => {
            (Logger::ImaWarning, format!("Hashes for file {name} don't match {got} not in {}", expected.join(", ")))
        }
        EntryProblem::InvalidSignature => (
            Logger::ImaWarning,
            format!("signature verification for file {name} failed and no runtime_policy is available"),
        ),
        EntryProblem::Unreadable { text, .. } => {
            (Logger::ImaError, format!("Line was not parsable into a valid IMA entry: {text}"))
        }
        EntryProblem::NotInPolicy { .. }
        | EntryProblem::OtherDigest { .. }
        | EntryProblem::OtherPcr { .. }
        | EntryProblem::Violation
        | EntryProblem::TemplateHash { .. }
        | EntryProblem::InvalidKey { .. }
        | EntryProblem::DeviceMapper(_) => return None,
    })
}

/// A character, escaped if it is a control character.
fn one_line(character: char) -> impl Iterator<Item = char> {
    let (escaped, plain) =
        if character.is_control() { (Some(character.escape_default()), None) } else { (None, Some(character)) };
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str) -> Failure {
        let table = PolicyTable::Digests;
        let problem = EntryProblem::OtherDigest { table, got: "01".into(), expected: vec!["02".into(), "03".into()] };
        Failure::Ima(ImaFailure::Entry { line: 1, name: name.to_owned(), problem })
    }

    #[test]
    fn lines_have_the_words_that_scripts_look_for() {
        let pcr = PcrFailure::Invalid { pcr: 23, got: "0x1".into(), expected: vec!["0x2".into(), "0x3".into()] };
        let failures = Failures::from_vec(vec![changed("/bin/x\n/bin/y"), Failure::Pcr(pcr)]).unwrap();
        let lines = log_lines("A", &failures);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Hashes for file /bin/x\\n/bin/y don't match 01 not in 02, 03",
                "PCR #23: 0x1 from quote (from agent A) does not match expected value 0x2, 0x3",
                "IMA ERRORS: Some entries couldn't be validated. Number of failures: 1.",
            ]
        );
        let loggers: Vec<Logger> = lines.iter().map(|line| line.logger).collect();
        assert_eq!(loggers, [Logger::ImaWarning, Logger::TpmError, Logger::ImaError]);
    }

    #[test]
    fn thousands_of_failures_are_a_bounded_number_of_lines() {
        let failures = Failures::from_vec((0..5000).map(|n| changed(&format!("/{n}"))).collect()).unwrap();
        let lines = log_lines("A", &failures);
        assert_eq!(lines.len(), MAX_LINES);
        assert!(lines.last().unwrap().text.ends_with("Number of failures: 5000."));
    }
}
