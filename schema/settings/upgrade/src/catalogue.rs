//! Every option of every component: its default, the formats it belongs to, its name in the unversioned file, and what it
//! means. `catalogue/*.toml` holds the data; templates, mappings and manual pages are made from it.

use crate::error::UpgradeError;
use crate::version::FormatVersion;
use serde::Deserialize;

/// Components that have a configuration file, in the order in which files are written.
pub const COMPONENTS: [&str; 6] = ["agent", "verifier", "tenant", "registrar", "ca", "logging"];

/// Formats that have templates, oldest first.
pub const VERSIONS: [FormatVersion; 7] = [
    FormatVersion::new(2, 0),
    FormatVersion::new(2, 1),
    FormatVersion::new(2, 2),
    FormatVersion::new(2, 3),
    FormatVersion::new(2, 4),
    FormatVersion::new(2, 5),
    FormatVersion::new(2, 6),
];

const SOURCES: [&str; 6] = [
    include_str!("../catalogue/agent.toml"),
    include_str!("../catalogue/verifier.toml"),
    include_str!("../catalogue/tenant.toml"),
    include_str!("../catalogue/registrar.toml"),
    include_str!("../catalogue/ca.toml"),
    include_str!("../catalogue/logging.toml"),
];

/// How a value is written into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As a text; quoted in TOML.
    #[default]
    Text,
    /// As a number or truth value; never quoted.
    Bare,
    /// As a list inside a text, in TOML.
    List,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionEntry {
    /// Section of the file.
    pub section: String,
    /// Name.
    pub name: String,
    /// Its default. Options of this implementation only have none: they are written as a comment unless they are set.
    pub default: Option<String>,
    /// What the comment shows for an option without default.
    pub example: String,
    /// How it is written.
    pub kind: Kind,
    /// First format that has it.
    pub since: FormatVersion,
    /// Last format whose file shows it.
    pub until: Option<FormatVersion>,
    /// The format in which a new default replaced the old one, for `--defaults`.
    pub reset: Option<FormatVersion>,
    /// Section and name in the unversioned file.
    pub was: Option<(String, String)>,
    /// What it means, one paragraph.
    pub help: String,
}

/// The options of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentOptions {
    /// Component.
    pub component: &'static str,
    /// What the file configures.
    pub title: String,
    /// Manual page that explains the program.
    pub program: String,
    /// Options in the order of the file.
    pub options: Vec<OptionEntry>,
}

impl ComponentOptions {
    /// The sections besides the main one, in the order of the file.
    #[must_use]
    pub fn further_sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = Vec::new();
        for option in &self.options {
            if option.section != self.component && !sections.contains(&option.section.as_str()) {
                sections.push(&option.section);
            }
        }
        sections
    }
}

#[derive(Deserialize)]
struct File {
    title: String,
    program: String,
    option: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    section: Option<String>,
    default: Option<String>,
    own: Option<String>,
    #[serde(default)]
    kind: Kind,
    since: Option<String>,
    until: Option<String>,
    reset: Option<String>,
    was: Option<String>,
    help: String,
}

/// Reads the catalogue.
///
/// # Errors
/// [`UpgradeError::Catalogue`], which a test rules out for the data compiled in.
pub fn load() -> Result<Vec<ComponentOptions>, UpgradeError> {
    COMPONENTS.iter().zip(SOURCES).map(|(component, source)| read(component, source)).collect()
}

fn read(component: &'static str, source: &str) -> Result<ComponentOptions, UpgradeError> {
    let bad = |reason: String| UpgradeError::Catalogue { component, reason };
    let file: File = toml::from_str(source).map_err(|error| bad(error.message().to_owned()))?;
    let options = file.option.into_iter().map(|entry| option(component, entry)).collect::<Result<_, String>>();
    Ok(ComponentOptions { component, title: file.title, program: file.program, options: options.map_err(bad)? })
}

fn option(component: &str, entry: Entry) -> Result<OptionEntry, String> {
    let version = |text: Option<String>| {
        text.map(|text| FormatVersion::parse(&text).ok_or(format!("{}: bad version {text}", entry.name))).transpose()
    };
    let was = entry.was.map(|text| {
        let parts = text.split_once(' ').map(|(section, name)| (section.to_owned(), name.to_owned()));
        parts.ok_or(format!("{}: 'was' needs a section and a name", entry.name))
    });
    if entry.default.is_some() == entry.own.is_some() {
        return Err(format!("{}: needs either a default or an example", entry.name));
    }
    Ok(OptionEntry {
        section: entry.section.unwrap_or_else(|| component.to_owned()),
        default: entry.default,
        example: entry.own.unwrap_or_default(),
        kind: entry.kind,
        since: version(entry.since)?.unwrap_or(VERSIONS[0]),
        until: version(entry.until)?,
        reset: version(entry.reset)?,
        was: was.transpose()?,
        help: entry.help,
        name: entry.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_catalogue_is_complete_and_consistent() {
        let catalogue = load().unwrap();
        for component in &catalogue {
            let mut seen = HashSet::new();
            for option in &component.options {
                assert!(seen.insert((&option.section, &option.name)), "{option:?} is there twice");
                assert!(VERSIONS.contains(&option.since), "{option:?}");
                assert!(option.help.ends_with('.') && !option.help.contains(['{', '}', '\n']), "{option:?}");
                let is_old = option.since == VERSIONS[0] && option.default.is_some();
                assert_eq!(is_old, option.was.is_some(), "{option:?}");
            }
        }
        let count: usize = catalogue.iter().map(|component| component.options.len()).sum();
        assert!(count > 190, "only {count} options");
    }
}
