//! `keylime-policy test`: would a measurement list pass under a policy, and if not, what is missing?
//!
//! The verdict is the engine's own, that of a verifier without a quote to compare with. What the policy lacks is
//! collected into a patch, and the patched policy is tried too: it may not help, because no policy allows a violation.

use crate::environment::{Console, Environment, write_output};
use crate::error::ToolError;
use crate::key_files::json_text;
use crate::policy_file;
use crate::program::Finding;
use keylime_arguments::Matches;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::measurement_list::{EntryReader, lines};
use keylime_engine::ima::{EntryProblem, ImaContext, ImaFailure, ImaOptions, ImaState, PolicyTable, appraise};
use keylime_engine::policy::CompiledRuntimePolicy;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most failures that are shown to people; JSON has them all.
const MAX_SHOWN: usize = 20;

/// Most times that a patch is extended: a verdict names a bounded number of failures at once.
const MAX_ROUNDS: usize = 100;

/// Runs the command.
///
/// # Errors
/// A file cannot be read or written, or holds no valid policy.
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<Finding, ToolError> {
    let policy = policy_file::read(environment, matches.value("POLICY").unwrap_or_default())?;
    let list = environment.read(matches.value("LOG").unwrap_or_default())?;
    // Names that are no UTF-8 reach verifiers with replacement characters.
    let list = String::from_utf8_lossy(&list);
    let trial = Trial::of(&policy, &list)?;
    if matches.is_present("json") {
        console.line(trial.to_json())?;
    } else {
        trial.write(console)?;
    }
    if let Some(output) = matches.value("output") {
        write_output(environment, console, output, json_text(&trial.patched).as_bytes())?;
    }
    Ok(if trial.failures.is_empty() { Finding::Nothing } else { Finding::Something })
}

/// What came of trying a policy on a list.
#[derive(Debug, Clone, PartialEq)]
struct Trial {
    entries: u64,
    failures: Vec<ImaFailure>,
    /// Lists of the policy with what they lack, as a merge patch (RFC 7396).
    patch: Value,
    patched: Value,
    /// What is wrong even with the patch.
    remaining: Vec<ImaFailure>,
}

impl Trial {
    fn of(policy: &Value, list: &str) -> Result<Self, ToolError> {
        let failures = judge(policy, list)?;
        let mut patched = policy.clone();
        let mut remaining = failures.clone();
        let mut lacking: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let found = what_lacks(&remaining, list);
            if found.is_empty() {
                break;
            }
            for ((table, name), digests) in &found {
                add(&mut patched[*table], name, digests);
            }
            lacking.extend(found);
            remaining = judge(&patched, list)?;
        }
        let mut patch = Map::new();
        for (table, name) in lacking.keys() {
            let member = patch.entry(*table).or_insert_with(|| json!({}));
            member[name] = patched[*table][name].clone();
        }
        let entries = lines(list).count() as u64;
        Ok(Self { entries, failures, patch: Value::Object(patch), patched, remaining })
    }

    fn to_json(&self) -> Value {
        let describe = |failures: &[ImaFailure]| -> Vec<Value> {
            let one = |failure: &ImaFailure| {
                let (line, name) = match failure {
                    ImaFailure::Entry { line, name, .. } => (json!(line), json!(name)),
                    ImaFailure::PcrMismatch { .. } | ImaFailure::QuoteProgress { .. } => (Value::Null, Value::Null),
                };
                json!({ "id": format!("ima.{}", failure.id()), "line": line, "name": name, "detail": failure.detail() })
            };
            failures.iter().map(one).collect()
        };
        json!({
            "passes": self.failures.is_empty(),
            "entries": self.entries,
            "failures": describe(&self.failures),
            "patch": self.patch,
            "passes_when_patched": self.remaining.is_empty(),
            "remaining_failures": describe(&self.remaining),
        })
    }

    fn write(&self, console: &mut Console<'_>) -> std::io::Result<()> {
        if self.failures.is_empty() {
            return console.line(format_args!("the list passes: all {} entries are allowed", self.entries));
        }
        console.line(format_args!("the list fails: {} of {} entries", self.failures.len(), self.entries))?;
        write_failures(console, &self.failures)?;
        if self.patch.as_object().is_some_and(|patch| !patch.is_empty()) {
            console.line("patch (RFC 7396) that adds what is missing; -o FILE writes the patched policy:")?;
            console.line(&self.patch)?;
        }
        if self.remaining.is_empty() {
            return console.line("with the patch the list passes");
        }
        console.line(format_args!("no patch of the policy helps against {}:", self.remaining.len()))?;
        write_failures(console, &self.remaining)
    }
}

fn write_failures(console: &mut Console<'_>, failures: &[ImaFailure]) -> std::io::Result<()> {
    for failure in failures.iter().take(MAX_SHOWN) {
        console.line(format_args!("  {}", failure.detail()))?;
    }
    if failures.len() > MAX_SHOWN {
        console.line(format_args!("  and {} more", failures.len() - MAX_SHOWN))?;
    }
    Ok(())
}

fn judge(policy: &Value, list: &str) -> Result<Vec<ImaFailure>, ToolError> {
    let policy = CompiledRuntimePolicy::compile(&policy.to_string()).map_err(ToolError::refused)?;
    let context = ImaContext {
        policy: &policy,
        tenant_keyring: policy.verification_keyring(),
        bank: HashAlgorithm::Sha256,
        quoted_pcr10: None,
        boot_aggregates: &[],
        options: ImaOptions::default(),
    };
    Ok(appraise(list, &ImaState::default(), &context).failures)
}

/// The digests by table and name that entries failed for.
fn what_lacks(failures: &[ImaFailure], list: &str) -> BTreeMap<(&'static str, String), Vec<String>> {
    let tables: BTreeMap<u64, PolicyTable> = failures
        .iter()
        .filter_map(|failure| match failure {
            ImaFailure::Entry {
                line,
                problem: EntryProblem::NotInPolicy { table, .. } | EntryProblem::OtherDigest { table, .. },
                ..
            } => Some((*line, *table)),
            _ => None,
        })
        .collect();
    let mut lacking: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut reader = EntryReader::default();
    for (line, text) in lines(list) {
        let Some(table) = tables.get(&line) else { continue };
        let Ok(entry) = reader.read(text) else { continue };
        lacking.entry((table.key(), entry.name.to_owned())).or_default().push(hex::encode(entry.digest()));
    }
    lacking
}

fn add(table: &mut Value, name: &str, digests: &[String]) {
    let Some(table) = table.as_object_mut() else { return };
    let list = table.entry(name).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        for digest in digests {
            if !list.iter().any(|known| known == digest) {
                list.push(json!(digest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::policy::runtime_policy::empty_policy;

    /// An entry of template `ima-ng` with a SHA-1 template hash.
    fn entry(name: &str, digest: &[u8; 32]) -> String {
        let field = [b"sha256:\0", &digest[..]].concat();
        let name_field = [name.as_bytes(), b"\0"].concat();
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        let data = [&length(&field)[..], &field, &length(&name_field), &name_field].concat();
        let hash = HashAlgorithm::Sha1.digest(&[&data]).to_hex();
        format!("10 {hash} ima-ng sha256:{} {name}\n", hex::encode(digest))
    }

    #[test]
    fn a_patch_makes_a_list_pass_that_lacks_only_digests() {
        let mut policy = empty_policy();
        policy["digests"] = json!({ "/a": ["11".repeat(32)] });
        let list = entry("/a", &[0x11; 32]) + &entry("/a", &[0x22; 32]) + &entry("/b", &[0x33; 32]);
        let trial = Trial::of(&policy, &list).unwrap();
        assert_eq!((trial.entries, trial.failures.len(), trial.remaining.len()), (3, 2, 0));
        assert_eq!(
            trial.patch,
            json!({ "digests": { "/a": ["11".repeat(32), "22".repeat(32)], "/b": ["33".repeat(32)] } })
        );
        assert!(Trial::of(&trial.patched, &list).unwrap().failures.is_empty());
    }

    #[test]
    fn no_patch_allows_what_no_policy_allows() {
        let violation = format!("10 {} ima-ng sha256:{} /v\n", "0".repeat(40), "0".repeat(64));
        let trial = Trial::of(&empty_policy(), &(violation + "nonsense\n" + &entry("/b", &[3; 32]))).unwrap();
        assert_eq!((trial.failures.len(), trial.remaining.len()), (3, 2));
        let json = trial.to_json();
        assert_eq!((&json["passes"], &json["passes_when_patched"]), (&json!(false), &json!(false)));
        assert_eq!(json["failures"][0]["line"], 1);
    }
}
