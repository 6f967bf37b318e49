//! Which files and variables make the configuration, and in which order: later ones win.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::configuration::ConfigurationError;
use crate::configuration::value::Value;

/// Largest configuration file read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
const PREFIX: &str = "KEYLIME_AGENT_";

/// The process environment, or a test's.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; values that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let texts =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(texts.collect())
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

/// The options set by files and environment; what is absent has its default.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    options: BTreeMap<String, Value>,
}

impl Layers {
    /// Reads everything: either the one file `KEYLIME_AGENT_CONFIG` names, or `/usr/etc/keylime` and over it
    /// `/etc/keylime` (file, then snippets in alphabetical order), then `KEYLIME_AGENT_<OPTION>`.
    ///
    /// # Errors
    /// A file cannot be read, is not TOML or has no `[agent]`.
    pub fn load(environment: &Environment) -> Result<Self, ConfigurationError> {
        let mut layers = Self::default();
        if let Some(path) = environment.get("KEYLIME_AGENT_CONFIG").map(PathBuf::from) {
            if !path.is_file() {
                return Err(ConfigurationError::MissingFile(path));
            }
            layers.add_file(&path)?;
        } else {
            for base in ["/usr/etc/keylime", "/etc/keylime"] {
                layers.add_directory(Path::new(base))?;
            }
        }
        layers.add_environment(environment);
        Ok(layers)
    }

    /// `agent.conf` of a directory and the snippets in its `agent.conf.d`.
    fn add_directory(&mut self, base: &Path) -> Result<(), ConfigurationError> {
        let file = base.join("agent.conf");
        if file.is_file() {
            self.add_file(&file)?;
        }
        let snippets = base.join("agent.conf.d");
        if !snippets.is_dir() {
            return Ok(());
        }
        let unreadable = |source| ConfigurationError::Unreadable { path: snippets.clone(), source };
        let mut paths = fs::read_dir(&snippets)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .map_err(unreadable)?;
        paths.sort();
        paths.iter().filter(|path| path.is_file()).try_for_each(|path| self.add_file(path))
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigurationError> {
        let unreadable = |source| ConfigurationError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ConfigurationError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
        }
        self.add_text(path, &text)
    }

    /// Lays the `[agent]` table of a TOML text over what is there; `path` names it in errors.
    ///
    /// # Errors
    /// The text is not TOML or has no `[agent]`.
    pub fn add_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigurationError> {
        let document: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigurationError::Syntax {
            path: path.to_owned(),
            reason: error.message().to_owned(),
        })?;
        let Some(toml::Value::Table(section)) = document.get("agent") else {
            return Err(ConfigurationError::NoSection(path.to_owned()));
        };
        let values = section.iter().filter_map(|(name, value)| Some((name.to_lowercase(), Value::from_toml(value)?)));
        self.options.extend(values);
        Ok(())
    }

    /// Lays the variables `KEYLIME_AGENT_<OPTION>` over what is there, then `KEYLIME_DIR` over `keylime_dir`.
    pub fn add_environment(&mut self, environment: &Environment) {
        for (name, value) in &environment.0 {
            if let Some(option) = name.strip_prefix(PREFIX) {
                self.options.insert(option.to_lowercase(), Value::Text(value.clone()));
            }
        }
        if let Some(directory) = environment.get("KEYLIME_DIR") {
            self.options.insert("keylime_dir".to_owned(), Value::Text(directory.to_owned()));
        }
    }

    pub(super) fn value(&self, option: &str) -> Option<&Value> {
        self.options.get(option)
    }

    /// An option as text.
    #[must_use]
    pub fn text(&self, option: &str, default: &str) -> String {
        self.value(option).map_or_else(|| default.to_owned(), Value::to_text)
    }

    /// An option as a number that fits `T`.
    ///
    /// # Errors
    /// [`ConfigurationError::Kind`].
    pub fn number<T: TryFrom<u64>>(&self, option: &'static str, default: T) -> Result<T, ConfigurationError> {
        let Some(value) = self.value(option) else {
            return Ok(default);
        };
        value.to_unsigned().and_then(|number| T::try_from(number).ok()).ok_or_else(|| ConfigurationError::Kind {
            option,
            expected: "a whole number in range",
            found: value.to_text(),
        })
    }

    /// An option as a truth value.
    ///
    /// # Errors
    /// [`ConfigurationError::Kind`].
    pub fn boolean(&self, option: &'static str, default: bool) -> Result<bool, ConfigurationError> {
        let Some(value) = self.value(option) else {
            return Ok(default);
        };
        value.to_boolean().ok_or_else(|| ConfigurationError::Kind {
            option,
            expected: "true or false",
            found: value.to_text(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_the_environment_wins_over_files() {
        let mut layers = Layers::default();
        layers.add_text(Path::new("a"), "[agent]\nport = 1\nip = \"10.0.0.1\"\n").unwrap();
        layers.add_text(Path::new("b"), "[agent]\nport = \"2\"\n").unwrap();
        layers.add_environment(&Environment::from([
            ("KEYLIME_AGENT_IP", "10.0.0.2"),
            ("KEYLIME_AGENT_KEYLIME_DIR", "/a"),
            ("KEYLIME_DIR", "/b"),
        ]));
        assert_eq!(layers.number::<u16>("port", 0).unwrap(), 2);
        assert_eq!(layers.text("ip", ""), "10.0.0.2");
        assert_eq!(layers.text("keylime_dir", ""), "/b");
    }

    #[test]
    fn one_named_file_replaces_all_and_must_exist() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.conf");
        let text = path.to_str().unwrap();
        let environment = Environment::from([("KEYLIME_AGENT_CONFIG", text), ("KEYLIME_AGENT_PORT", "7")]);
        assert!(matches!(Layers::load(&environment), Err(ConfigurationError::MissingFile(_))));
        std::fs::write(&path, "[agent]\nuuid = \"x\"\n").unwrap();
        let layers = Layers::load(&environment).unwrap();
        assert_eq!((layers.text("uuid", ""), layers.number::<u16>("port", 0).unwrap()), ("x".to_owned(), 7));
    }

    #[test]
    fn mistakes_name_file_and_option() {
        let mut layers = Layers::default();
        assert!(matches!(layers.add_text(Path::new("f"), "[agen]\n"), Err(ConfigurationError::NoSection(_))));
        assert!(matches!(layers.add_text(Path::new("f"), "port 1"), Err(ConfigurationError::Syntax { .. })));
        layers.add_text(Path::new("f"), "[agent]\nport = 70000\nenable_agent_mtls = \"perhaps\"\n").unwrap();
        let error = layers.number::<u16>("port", 0).unwrap_err();
        assert_eq!(error.to_string(), "option port must be a whole number in range, not \"70000\"");
        assert!(layers.boolean("enable_agent_mtls", true).is_err());
    }
}
