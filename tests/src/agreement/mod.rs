//! Agreement with recorded verdicts: reads an `EXPECTED.json` with its files and compares this engine's answers.
//!
//! Each section of the file has a function here that runs its cases. Where an answer differs, the case fails unless a rule
//! in [`deviations`] says that the difference is meant and finds the feature of the input that the rule is about. To add a
//! section, write such a function and name it in [`SECTIONS`].

mod boot_log_section;
mod boot_policy_section;
pub mod deviations;
mod device_mapper_section;
mod ima_section;
mod key_section;
mod policy_section;
mod policy_tools_section;

use deviations::{DEVIATIONS, Deviation};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Runs the cases of one section.
pub type SectionRunner = fn(&Vectors, &Value, &mut Report);

/// The sections this engine answers, with the functions that run them.
pub const SECTIONS: &[(&str, SectionRunner)] = &[
    ("ima", ima_section::lists),
    ("ima_sequences", ima_section::sequences),
    ("dm", device_mapper_section::events),
    ("dm_parse", device_mapper_section::grammar),
    ("keyids", key_section::key_ids),
    ("verification_keys", key_section::verification_keys),
    ("runtime_policy_schema", policy_section::schema),
    ("policy_checksums", policy_section::checksums),
    ("detached_signatures", policy_section::detached_signatures),
    ("policy_tools", policy_tools_section::runs),
    ("dsse", policy_section::envelopes),
    ("dsse_ids", policy_section::envelope_details),
    ("dsse_b64dec", policy_section::text_decoding),
    ("eventlogs", boot_log_section::logs),
    ("event_json_quirks_tools58", boot_log_section::current_events),
    ("event_json_quirks_tools54", boot_log_section::former_events),
    ("example_refstate_mutations", boot_policy_section::mutations),
    ("mb_bootlog_evaluate", boot_policy_section::evaluations),
    ("mb_policy_is_valid", boot_policy_section::validity),
    ("check_pcrs", boot_policy_section::pcr_stages),
];

/// A directory with an `EXPECTED.json`.
#[derive(Debug)]
pub struct Vectors {
    root: PathBuf,
    expected: Value,
}

/// Why vectors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// A file is missing or unreadable.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// `EXPECTED.json` is no JSON.
    #[error("{0}: {1}")]
    NotJson(PathBuf, serde_json::Error),
}

impl Vectors {
    /// Opens a directory.
    ///
    /// # Errors
    /// See [`VectorsError`].
    pub fn open(root: &Path) -> Result<Self, VectorsError> {
        let path = root.join("EXPECTED.json");
        let text = std::fs::read(&path).map_err(|e| VectorsError::Unreadable(path.clone(), e))?;
        let expected = serde_json::from_slice(&text).map_err(|e| VectorsError::NotJson(path, e))?;
        Ok(Self { root: root.to_owned(), expected })
    }

    /// The recorded answers.
    #[must_use]
    pub fn expected(&self) -> &Value {
        &self.expected
    }

    /// A file, by its path relative to the directory.
    ///
    /// # Errors
    /// A text that says which file cannot be read.
    pub fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.root.join(path)).map_err(|e| format!("{path}: {e}"))
    }

    /// A text file; bytes that are no UTF-8 are replaced, as the agents' JSON replaces them.
    ///
    /// # Errors
    /// As for [`file`](Self::file).
    pub fn text(&self, path: &str) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.file(path)?).into_owned())
    }
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases that agree.
    pub passed: usize,
    /// One line per case that does not.
    pub disagreements: Vec<String>,
    /// Cases excused by each rule.
    pub excused: BTreeMap<&'static str, Vec<String>>,
    /// Sections without a function to run them.
    pub unknown_sections: Vec<String>,
    /// Cases whose input is not in the directory.
    pub without_input: Vec<String>,
}

/// The answers to one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The recorded answer.
    pub expected: Value,
    /// This engine's.
    pub ours: Value,
}

/// A case, as rules see it.
#[derive(Debug)]
pub struct Case<'v> {
    /// The section.
    pub section: &'static str,
    /// The case itself.
    pub case: &'v Value,
    /// The directory, to look into the case's files.
    pub vectors: &'v Vectors,
    /// Both answers.
    pub answers: Answers,
}

impl Report {
    /// Compares the answers to one case.
    pub fn compare(
        &mut self,
        vectors: &Vectors,
        section: &'static str,
        id: &str,
        case: &Value,
        answers: Result<Answers, String>,
    ) {
        let answers = match answers {
            Ok(answers) if answers.expected == answers.ours => {
                self.passed += 1;
                return;
            }
            Ok(answers) => answers,
            Err(problem) => {
                self.disagreements.push(format!("{section} {id}: {problem}"));
                return;
            }
        };
        let case = Case { section, case, vectors, answers };
        if let Some(rule) = DEVIATIONS.iter().find(|rule| rule.covers(&case)) {
            self.excused.entry(rule.name).or_default().push(format!("{section} {id}"));
            return;
        }
        let Answers { expected, ours } = case.answers;
        self.disagreements.push(format!("{section} {id}: expected {expected}, got {ours}"));
    }

    /// The rules that excused cases.
    pub fn rules_used(&self) -> impl Iterator<Item = (&'static Deviation, usize)> {
        DEVIATIONS.iter().filter_map(|rule| Some((rule, self.excused.get(rule.name)?.len())))
    }

    /// Number of cases excused by rules.
    #[must_use]
    pub fn excused_count(&self) -> usize {
        self.excused.values().map(Vec::len).sum()
    }
}

/// Runs all sections that are both in the vectors and in `sections`.
#[must_use]
pub fn run(vectors: &Vectors, sections: &[(&str, SectionRunner)]) -> Report {
    let mut report = Report::default();
    for (name, section) in vectors.expected.as_object().into_iter().flatten() {
        match sections.iter().find(|(known, _)| known == name) {
            Some((_, runner)) => runner(vectors, section, &mut report),
            None if name.starts_with('_') => {}
            None => report.unknown_sections.push(name.clone()),
        }
    }
    report
}

/// The cases of a section that is a list, with their ids.
fn cases(section: &Value) -> impl Iterator<Item = (String, &Value)> {
    section.as_array().into_iter().flatten().enumerate().map(|(index, case)| {
        let id = ["id", "file", "envelope", "entry", "in"].into_iter().find_map(|key| case.get(key)?.as_str());
        (format!("[{index}] {}", id.unwrap_or_default()), case)
    })
}

/// A member that is a text.
fn text<'v>(case: &'v Value, key: &str) -> Option<&'v str> {
    case.get(key).and_then(Value::as_str)
}
