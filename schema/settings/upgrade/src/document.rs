//! The options of all components, as they move from format to format.

use indexmap::IndexMap;
use keylime_settings::ini::Ini;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Options of one section, in the order in which they were first seen.
pub type Section = IndexMap<String, String>;

/// Sections with their options. Two documents are equal when they hold the same options, in whatever order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    sections: IndexMap<String, Section>,
}

impl Document {
    /// What an INI reader holds, without the quotes that TOML files have around values. Options inherited from `[DEFAULT]`
    /// are written into the sections that inherit them.
    #[must_use]
    pub fn from_ini(ini: &Ini) -> Self {
        let mut document = Self::default();
        for section in ini.sections() {
            let options = document.section_mut(section);
            for (name, value) in ini.options(section).chain(ini.defaults()) {
                options.entry(name.to_owned()).or_insert_with(|| unquoted(value).to_owned());
            }
        }
        document
    }

    /// A section.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    /// A section, made if it is not there.
    pub fn section_mut(&mut self, name: &str) -> &mut Section {
        self.sections.entry(name.to_owned()).or_default()
    }

    /// Whether a section is there.
    #[must_use]
    pub fn has(&self, section: &str) -> bool {
        self.sections.contains_key(section)
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, section: &str, option: &str) -> Option<&str> {
        self.sections.get(section)?.get(&option.to_lowercase()).map(String::as_str)
    }

    /// Sets an option.
    pub fn set(&mut self, section: &str, option: &str, value: impl Into<String>) {
        self.section_mut(section).insert(option.to_lowercase(), unquoted(&value.into()).to_owned());
    }

    /// Puts a whole section in place.
    pub fn put(&mut self, name: &str, section: Section) {
        self.sections.insert(name.to_owned(), section);
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let object =
            |section: &Section| section.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        Value::Object(
            self.sections.iter().map(|(name, section)| (name.clone(), Value::Object(object(section)))).collect(),
        )
    }

    /// All sections.
    #[must_use]
    pub fn sections(&self) -> &IndexMap<String, Section> {
        &self.sections
    }
}

/// A JSON object with its members in the order of the text.
#[derive(Debug, Clone)]
pub struct Ordered<T>(pub IndexMap<String, T>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(IndexMap::new())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = serde_json::Map::<String, Value>::deserialize(deserializer)?;
        let read = |(name, value)| match serde_json::from_value(value) {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(D::Error::custom(format!("{name}: {error}"))),
        };
        members.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// A value without the quotes and blanks around it.
fn unquoted(value: &str) -> &str {
    value.trim_matches(['"', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_is_read_as_ini_without_its_quotes() {
        let mut ini = Ini::default();
        ini.read("[DEFAULT]\nb = 1\n[agent]\nuuid = \"x\"\nlist = \"['a']\"\n").unwrap();
        let document = Document::from_ini(&ini);
        assert_eq!(document.get("agent", "UUID"), Some("x"));
        assert_eq!(document.get("agent", "list"), Some("['a']"));
        assert_eq!(document.get("agent", "b"), Some("1"));
        assert!(!document.has("DEFAULT"));
    }
}
