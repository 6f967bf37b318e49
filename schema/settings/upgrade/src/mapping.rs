//! Carrying a document to a format: by a full mapping, which rebuilds every component from a table, or by an update, which
//! adds, removes and moves options.

use crate::document::{Document, Ordered, Section};
use crate::error::UpgradeError;
use crate::journal::Journal;
use crate::version::FormatVersion;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

/// Where the values of an upgrade come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// The old files, and defaults for what they lack.
    Kept,
    /// Defaults only.
    Defaults,
}

/// A mapping file.
#[derive(Debug, Clone)]
pub struct Mapping {
    path: String,
    version: FormatVersion,
    version_text: String,
    parents: IndexMap<String, String>,
    steps: Steps,
    /// The file as it was, for adjustment scripts.
    pub document: Value,
}

#[derive(Debug, Clone)]
enum Steps {
    Full(Ordered<Ordered<Origin>>),
    Update(Ordered<Operations>),
}

#[derive(Debug, Clone, Deserialize)]
struct Origin {
    section: String,
    option: String,
    default: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Operations {
    #[serde(default)]
    add: Option<Ordered<String>>,
    #[serde(default)]
    remove: Option<Vec<String>>,
    #[serde(default)]
    replace: Option<Ordered<Replacement>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Replacement {
    section: Option<String>,
    option: Option<String>,
    default: Option<String>,
}

#[derive(Deserialize)]
struct File {
    version: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    components: Value,
    #[serde(default)]
    subcomponents: Ordered<String>,
}

impl Mapping {
    /// Reads a mapping file's text; `path` names it in messages.
    ///
    /// # Errors
    /// [`UpgradeError::Mapping`].
    pub fn parse(path: &str, text: &str) -> Result<Self, UpgradeError> {
        let bad = |reason: String| UpgradeError::Mapping { path: path.to_owned(), reason };
        let document: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let file: File = serde_json::from_value(document.clone()).map_err(|error| bad(error.to_string()))?;
        let version = FormatVersion::parse(&file.version)
            .ok_or_else(|| bad(format!("invalid version number {:?}", file.version)))?;
        if file.components.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(bad("no components set".to_owned()));
        }
        let steps = match file.kind.as_deref() {
            None | Some("full") => serde_json::from_value(file.components).map(Steps::Full),
            Some("update") => serde_json::from_value(file.components).map(Steps::Update),
            Some(other) => return Err(bad(format!("invalid mapping type {other:?}"))),
        };
        let steps = steps.map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            version,
            version_text: file.version,
            parents: file.subcomponents.0,
            steps,
            document,
        })
    }

    /// The format it leads to.
    #[must_use]
    pub fn version(&self) -> FormatVersion {
        self.version
    }

    /// Carries a document to the mapping's format; components that have it already, or have `target`, stay as they are.
    ///
    /// # Errors
    /// The document or the mapping lacks something that is needed.
    pub fn apply(
        &self,
        old: &Document,
        values: Values,
        target: Option<FormatVersion>,
        journal: &Journal,
    ) -> Result<Document, UpgradeError> {
        match &self.steps {
            Steps::Full(Ordered(components)) => self.rebuild(components, old, values, target, journal),
            Steps::Update(Ordered(components)) => self.update(components, old, values, target, journal),
        }
    }

    fn bad(&self, reason: String) -> UpgradeError {
        UpgradeError::Mapping { path: self.path.clone(), reason }
    }

    fn parent<'m>(&'m self, section: &'m str) -> &'m str {
        self.parents.get(section).map_or(section, String::as_str)
    }

    fn is_reached(&self, version: FormatVersion, target: Option<FormatVersion>) -> bool {
        version >= self.version || target.is_some_and(|target| version >= target)
    }

    fn rebuild(
        &self,
        components: &IndexMap<String, Ordered<Origin>>,
        old: &Document,
        values: Values,
        target: Option<FormatVersion>,
        journal: &Journal,
    ) -> Result<Document, UpgradeError> {
        let mut new = Document::default();
        for (component, origins) in components {
            if let Some(section) = old.section(component) {
                let found = old.get(self.parent(component), "version");
                let version = found.map_or(Some(FormatVersion::UNVERSIONED), FormatVersion::parse);
                let version = version.ok_or_else(|| {
                    self.bad(format!("invalid version number {found:?} of {component} in the old configuration"))
                })?;
                if self.is_reached(version, target) {
                    new.put(component, section.clone());
                    continue;
                }
            }
            new.put(component, Section::new());
            for (option, origin) in &origins.0 {
                let kept = match values {
                    Values::Kept => old.get(&origin.section, &origin.option),
                    Values::Defaults => None,
                };
                if kept.is_none() {
                    journal
                        .debug(&format!("[{component}] Using default value \"{}\" for \"{option}\"", origin.default));
                }
                new.set(component, option, kept.unwrap_or(&origin.default));
            }
            new.set(component, "version", &self.version_text);
        }
        Ok(new)
    }

    fn update(
        &self,
        components: &IndexMap<String, Operations>,
        old: &Document,
        values: Values,
        target: Option<FormatVersion>,
        journal: &Journal,
    ) -> Result<Document, UpgradeError> {
        let mut new = old.clone();
        for component in old.sections().keys() {
            let found = old.get(self.parent(component), "version");
            let version = found.and_then(FormatVersion::parse);
            let Some(operations) = components.get(component) else {
                // A section the mapping does not name has the same options in the new format; never label it older.
                if version.is_none_or(|version| version < self.version) {
                    new.set(component, "version", &self.version_text);
                }
                continue;
            };
            let version = version.ok_or_else(|| self.bad(format!("no valid version number in [{component}]")))?;
            if self.is_reached(version, target) {
                continue;
            }
            self.operate(&mut new, component, operations, values, journal)?;
            new.set(component, "version", &self.version_text);
        }
        for (component, operations) in components.iter().filter(|(component, _)| !old.has(component)) {
            if operations.add.is_none() {
                journal.warning(&format!("Missing \"add\" operation in new section \"[{component}]\""));
            }
            for (name, is_given) in [("remove", operations.remove.is_some()), ("replace", operations.replace.is_some())]
            {
                if is_given {
                    journal.warning(&format!("Bogus \"{name}\" operation in new section \"[{component}]\""));
                }
            }
            journal.info(&format!("Added new section \"[{component}]\""));
            new.section_mut(component);
            self.operate(&mut new, component, operations, values, journal)?;
            new.set(component, "version", &self.version_text);
        }
        Ok(new)
    }

    fn operate(
        &self,
        new: &mut Document,
        component: &str,
        operations: &Operations,
        values: Values,
        journal: &Journal,
    ) -> Result<(), UpgradeError> {
        for (option, default) in operations.add.iter().flat_map(|add| &add.0) {
            if new.get(component, option).is_none() {
                new.set(component, option, default.as_str());
                journal.debug(&format!("[{component}]: Added new option \"{option}\" = \"{default}\""));
            }
        }
        for option in operations.remove.iter().flatten() {
            new.section_mut(component).shift_remove(&option.to_lowercase());
        }
        for (option, replacement) in operations.replace.iter().flat_map(|replace| &replace.0) {
            let missing = |part: &str| {
                self.bad(format!("[{component}] malformed mapping: missing \"{part}\" in {option} replacement"))
            };
            let section = replacement.section.as_deref().ok_or_else(|| missing("section"))?;
            let name = replacement.option.as_deref().ok_or_else(|| missing("option"))?;
            let default = replacement.default.as_deref().ok_or_else(|| missing("default"))?;
            let removed = match values {
                Values::Kept => new.section_mut(component).shift_remove(&option.to_lowercase()),
                Values::Defaults => None,
            };
            if !new.has(section) {
                journal.info(&format!("Added new section [{section}]"));
            }
            new.set(section, name, removed.unwrap_or_else(|| default.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Detail;

    fn document(options: &[(&str, &str, &str)]) -> Document {
        let mut document = Document::default();
        for (section, option, value) in options {
            document.set(section, option, *value);
        }
        document
    }

    fn apply(mapping: &str, old: &Document, values: Values) -> Result<Document, UpgradeError> {
        Mapping::parse("m", mapping)?.apply(old, values, None, &Journal::new(Detail::Quiet))
    }

    const FULL: &str = r#"{"version": "2.0", "components": {
        "a": {"x": {"section": "old", "option": "y", "default": "d"}}, "b": {}}, "subcomponents": {"b": "a"}}"#;

    #[test]
    fn full_mappings_move_values_and_fill_in_defaults() {
        let old = document(&[("old", "y", "\"1\""), ("gone", "z", "2")]);
        assert_eq!(
            apply(FULL, &old, Values::Kept).unwrap(),
            document(&[("a", "x", "1"), ("a", "version", "2.0"), ("b", "version", "2.0")])
        );
        assert_eq!(apply(FULL, &old, Values::Defaults).unwrap().get("a", "x"), Some("d"));
        let newer = document(&[("a", "version", "2.1"), ("a", "own", "1"), ("b", "own", "2")]);
        assert_eq!(apply(FULL, &newer, Values::Kept).unwrap(), newer);
    }

    #[test]
    fn updates_add_remove_and_replace() {
        let mapping = r#"{"version": "2.1", "type": "update", "components": {"a": {"add": {"n": "new", "k": "no"},
            "remove": ["r", "absent"], "replace": {"o": {"section": "s", "option": "p", "default": "d"}}}}}"#;
        let old =
            document(&[("a", "version", "2.0"), ("a", "k", "kept"), ("a", "r", "1"), ("a", "o", "2"), ("c", "v", "1")]);
        let new = apply(mapping, &old, Values::Kept).unwrap();
        let expected =
            [("a", "version", "2.1"), ("a", "k", "kept"), ("a", "n", "new"), ("s", "p", "2"), ("c", "v", "1")];
        for (section, option, value) in expected {
            assert_eq!(new.get(section, option), Some(value), "{section}.{option}");
        }
        assert_eq!((new.get("a", "r"), new.get("a", "o"), new.get("c", "version")), (None, None, Some("2.1")));
        assert_eq!(apply(mapping, &old, Values::Defaults).unwrap().get("s", "p"), Some("d"));
    }

    #[test]
    fn what_a_mapping_lacks_is_named() {
        for (text, expected) in [
            ("{", "EOF"),
            (r#"{"version": "x", "components": {"a": {}}}"#, "invalid version number"),
            (r#"{"version": "2.0", "components": {}}"#, "no components"),
            (r#"{"version": "2.0", "type": "odd", "components": {"a": {}}}"#, "invalid mapping type"),
            (
                r#"{"version": "2.1", "type": "update", "components": {"a": {"replace": {"o": {"option": "p", "default": ""}}}}}"#,
                "missing \"section\" in o replacement",
            ),
            (
                r#"{"version": "2.1", "type": "update", "components": {"c": {"add": {}}}}"#,
                "no valid version number in [c]",
            ),
        ] {
            let old = document(&[("a", "version", "2.0"), ("c", "v", "1")]);
            let error = apply(text, &old, Values::Kept).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
