//! `keylime-policy diff`: what one runtime policy allows and another does not.
//!
//! Policies are compared by what they mean: the order of members and of digests, repetitions and time stamps make no
//! difference.

use crate::environment::{Console, Environment};
use crate::error::ToolError;
use crate::policy_file;
use crate::program::Finding;
use keylime_arguments::Matches;
use keylime_engine::ima::keyring::Keyring;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Runs the command.
///
/// # Errors
/// A file cannot be read or holds no valid policy.
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<Finding, ToolError> {
    let read = |name: &str| policy_file::read(environment, matches.value(name).unwrap_or_default());
    let difference = PolicyDifference::between(&read("A")?, &read("B")?);
    if matches.is_present("json") {
        console.line(difference.to_json())?;
    } else {
        difference.write(console)?;
    }
    Ok(if difference.is_empty() { Finding::Nothing } else { Finding::Something })
}

/// A set of texts in two policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SetDifference {
    added: Vec<String>,
    removed: Vec<String>,
}

impl SetDifference {
    fn between(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Self {
        Self {
            added: after.difference(before).cloned().collect(),
            removed: before.difference(after).cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn to_json(&self) -> Value {
        json!({ "added": self.added, "removed": self.removed })
    }
}

/// Lists of digests by name in two policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct TableDifference {
    added: BTreeMap<String, BTreeSet<String>>,
    removed: BTreeMap<String, BTreeSet<String>>,
    changed: BTreeMap<String, SetDifference>,
}

impl TableDifference {
    fn between(before: &Value, after: &Value) -> Self {
        let (before, after) = (table(before), table(after));
        let mut difference = Self::default();
        for (name, digests) in &after {
            match before.get(name) {
                None => {
                    difference.added.insert(name.clone(), digests.clone());
                }
                Some(known) if known != digests => {
                    difference.changed.insert(name.clone(), SetDifference::between(known, digests));
                }
                Some(_) => {}
            }
        }
        difference.removed = before.into_iter().filter(|(name, _)| !after.contains_key(name)).collect();
        difference
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn to_json(&self) -> Value {
        let changed: Map<String, Value> =
            self.changed.iter().map(|(name, difference)| (name.clone(), difference.to_json())).collect();
        json!({ "added": self.added, "removed": self.removed, "changed": changed })
    }
}

/// What differs between two policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyDifference {
    tables: Vec<(&'static str, TableDifference)>,
    sets: Vec<(&'static str, SetDifference)>,
    values: Vec<(&'static str, Value, Value)>,
}

impl PolicyDifference {
    /// Compares two policies that satisfy the schema.
    #[must_use]
    pub fn between(before: &Value, after: &Value) -> Self {
        let tables = ["digests", "keyrings", "ima-buf"]
            .map(|name| (name, TableDifference::between(&before[name], &after[name])));
        let sets = [
            ("excludes", SetDifference::between(&texts(&before["excludes"]), &texts(&after["excludes"]))),
            (
                "ima.ignored_keyrings",
                SetDifference::between(
                    &texts(&before["ima"]["ignored_keyrings"]),
                    &texts(&after["ima"]["ignored_keyrings"]),
                ),
            ),
            ("verification-keys", SetDifference::between(&key_ids(before), &key_ids(after))),
        ];
        let values = [("release", "/release"), ("ima.log_hash_alg", "/ima/log_hash_alg")].map(|(name, pointer)| {
            let value = |policy: &Value| policy.pointer(pointer).cloned().unwrap_or_default();
            (name, value(before), value(after))
        });
        Self {
            tables: tables.into_iter().filter(|(_, difference)| !difference.is_empty()).collect(),
            sets: sets.into_iter().filter(|(_, difference)| !difference.is_empty()).collect(),
            values: values.into_iter().filter(|(_, before, after)| before != after).collect(),
        }
    }

    /// Whether both policies mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.sets.is_empty() && self.values.is_empty()
    }

    /// The difference as one document: `equal`, and a member for each part that differs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("equal".to_owned(), json!(self.is_empty()));
        members.extend(self.tables.iter().map(|(name, table)| ((*name).to_owned(), table.to_json())));
        members.extend(self.sets.iter().map(|(name, set)| ((*name).to_owned(), set.to_json())));
        let values = self.values.iter();
        members.extend(
            values.map(|(name, before, after)| ((*name).to_owned(), json!({ "before": before, "after": after }))),
        );
        Value::Object(members)
    }

    /// Writes the difference for people: `+` and `-` before what the second policy has more and less.
    ///
    /// # Errors
    /// The reader went away.
    pub fn write(&self, console: &mut Console<'_>) -> io::Result<()> {
        if self.is_empty() {
            return console.line("the policies mean the same");
        }
        for (name, before, after) in &self.values {
            console.line(format_args!("{name}: {before} -> {after}"))?;
        }
        for (name, set) in &self.sets {
            console.line(format_args!("{name}: {} added, {} removed", set.added.len(), set.removed.len()))?;
            write_set(console, set, "")?;
        }
        for (name, table) in &self.tables {
            let (added, removed, changed) = (table.added.len(), table.removed.len(), table.changed.len());
            console.line(format_args!("{name}: {added} added, {removed} removed, {changed} changed"))?;
            for (sign, entries) in [('+', &table.added), ('-', &table.removed)] {
                for (name, digests) in entries {
                    for digest in digests {
                        console.line(format_args!("  {sign} {digest}  {name}"))?;
                    }
                }
            }
            for (name, set) in &table.changed {
                write_set(console, set, &format!("  {name}"))?;
            }
        }
        Ok(())
    }
}

fn write_set(console: &mut Console<'_>, set: &SetDifference, suffix: &str) -> io::Result<()> {
    for (sign, items) in [('+', &set.added), ('-', &set.removed)] {
        for item in items {
            console.line(format_args!("  {sign} {item}{suffix}"))?;
        }
    }
    Ok(())
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn table(value: &Value) -> BTreeMap<String, BTreeSet<String>> {
    value.as_object().into_iter().flatten().map(|(name, list)| (name.clone(), texts(list))).collect()
}

/// The keys of a policy by what signatures name them with.
fn key_ids(policy: &Value) -> BTreeSet<String> {
    let keyring = policy["verification-keys"].as_str().unwrap_or_default();
    let keyring = Keyring::from_json(keyring).ok().flatten().unwrap_or_default();
    keyring.key_ids().map(|id| format!("key id {id:08x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::policy::runtime_policy::empty_policy;

    #[test]
    fn only_what_a_policy_means_counts() {
        let (mut before, mut after) = (empty_policy(), empty_policy());
        before["digests"] = json!({ "/a": ["1", "2"], "/b": ["3"], "/c": ["4"] });
        after["digests"] = json!({ "/c": ["4", "4"], "/a": ["2", "5"], "/d": ["6"] });
        after["meta"]["timestamp"] = json!("later");
        before["excludes"] = json!(["x", "y", "x"]);
        after["excludes"] = json!(["y", "z"]);
        after["ima"]["log_hash_alg"] = json!("sha256");
        let difference = PolicyDifference::between(&before, &after);
        assert_eq!(
            difference.to_json(),
            json!({
                "equal": false,
                "digests": {
                    "added": { "/d": ["6"] },
                    "removed": { "/b": ["3"] },
                    "changed": { "/a": { "added": ["5"], "removed": ["1"] } },
                },
                "excludes": { "added": ["z"], "removed": ["x"] },
                "ima.log_hash_alg": { "before": "sha1", "after": "sha256" },
            })
        );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        difference.write(&mut Console::new(&mut out, &mut err, time::UtcOffset::UTC)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "ima.log_hash_alg: \"sha1\" -> \"sha256\"\nexcludes: 1 added, 1 removed\n  + z\n  - x\n\
             digests: 1 added, 1 removed, 1 changed\n  + 6  /d\n  - 3  /b\n  + 5  /a\n  - 1  /a\n"
        );
        assert!(PolicyDifference::between(&before, &before).is_empty());
    }
}
