//! The configuration of one component: which files it comes from, and Keylime's typed getters.

use crate::component::Component;
use crate::error::ConfigError;
use crate::ini::{Ini, MAX_FILE_BYTES};
use crate::place;
use crate::python_literal::{self, Literal};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

const BASE_DIRS: [&str; 2] = ["/etc/keylime", "/usr/etc/keylime"];
const SNIPPET_DIRS: [&str; 2] = ["/usr/etc/keylime", "/etc/keylime"];

/// The merged configuration of one component. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    component: Component,
    ini: Arc<Ini>,
    files: Arc<Vec<PathBuf>>,
    environment: Arc<Environment>,
}

#[derive(Debug)]
enum Environment {
    Process,
    Given(HashMap<String, String>),
}

impl Environment {
    fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Process => std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()),
            Self::Given(map) => map.get(name).cloned(),
        }
    }
}

impl Config {
    /// Reads the files of a component (`config.md` §1): the file named by `KEYLIME_<COMPONENT>_CONFIG` alone, or else the
    /// base file of `/etc/keylime` or `/usr/etc/keylime` with the snippets of both, and over them, for the tenant, the user's
    /// own `~/.keylime/tenant.conf`. Without any file every option has its
    /// built-in default.
    ///
    /// # Errors
    /// A file that exists but cannot be understood.
    pub fn load(component: Component) -> Result<Self, ConfigError> {
        let mut ini = Ini::default();
        let mut files = Vec::new();
        let variable = component.file_variable();
        let named = std::env::var_os(&variable).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(path) = named.as_ref().filter(|p| p.is_file()) {
            read_file(&mut ini, path)?;
            files.push(path.clone());
        } else {
            if let Some(path) = named {
                info!(
                    target: "keylime.config",
                    "Config file {} set through environment variable {variable} not found, falling back to installed configuration",
                    path.display()
                );
            }
            read_installed(component, &mut ini, &mut files)?;
            read_users_own(component, &mut ini, &mut files)?;
        }
        Ok(Self { component, ini: Arc::new(ini), files: Arc::new(files), environment: Arc::new(Environment::Process) })
    }

    /// A configuration from a text and an environment, without touching the system.
    ///
    /// # Errors
    /// The text breaks the INI syntax.
    pub fn from_parts(component: Component, text: &str, env: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let mut ini = Ini::default();
        ini.read(text).map_err(|e| ConfigError::Syntax {
            path: format!("{}.conf", component.name()),
            line: e.line,
            problem: e.problem,
        })?;
        let environment = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Ok(Self {
            component,
            ini: Arc::new(ini),
            files: Arc::default(),
            environment: Arc::new(Environment::Given(environment)),
        })
    }

    /// The component.
    #[must_use]
    pub fn component(&self) -> Component {
        self.component
    }

    /// The files that were read, in order.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Every option of every section as it is in effect, for `--print-config`; environment overrides of options that no file
    /// holds are not known here.
    #[must_use]
    pub fn effective(&self) -> Vec<(String, Vec<(String, String)>)> {
        let section = |name: &str| {
            let options = self.ini.options(name);
            let value = |o: &str, v: &str| self.overridden(name, o).unwrap_or_else(|| v.to_owned());
            (name.to_owned(), options.map(|(o, v)| (o.to_owned(), value(o, v))).collect())
        };
        self.ini.sections().map(section).collect()
    }

    fn overridden(&self, section: &str, option: &str) -> Option<String> {
        // Keylime has no overrides for logging options.
        if self.component == Component::Logging {
            return None;
        }
        let variable = self.component.option_variable(section, option);
        self.environment.get(&variable).or_else(|| {
            // The documentation's pattern (2.3.4) names the section; for the main one it may be left out.
            let full = self.component.full_option_variable(section, option);
            if full == variable { None } else { self.environment.get(&full) }
        })
    }

    fn bad(&self, section: &str, option: &str, problem: String) -> ConfigError {
        ConfigError::Value { component: self.component.name(), section: section.into(), option: option.into(), problem }
    }

    /// Text of an option, without surrounding double quotes and spaces; `None` when neither file nor environment has it.
    #[must_use]
    pub fn get(&self, section: &str, option: &str) -> Option<String> {
        let value = self.overridden(section, option);
        let value = value.as_deref().or_else(|| self.ini.get(section, option))?;
        Some(stripped(value).to_owned())
    }

    /// Text of an option, or `fallback` when it is missing.
    #[must_use]
    pub fn get_or(&self, section: &str, option: &str, fallback: &str) -> String {
        self.get(section, option).unwrap_or_else(|| fallback.to_owned())
    }

    fn raw(&self, section: &str, option: &str) -> Option<String> {
        self.overridden(section, option).or_else(|| self.ini.get(section, option).map(str::to_owned))
    }

    /// A file, a directory or a word in its place, such as `default`: a comment after it is left out and `~/` is the user's
    /// home, as Keylime's documentation prints them (2.2.6, 2.2.11).
    #[must_use]
    pub fn place(&self, section: &str, option: &str) -> Option<String> {
        self.get(section, option).map(|value| place::expanded(place::without_comment(&value)))
    }

    /// An integer, or `fallback` when the option is missing. Quotes around numbers, which the reference refuses, are
    /// accepted.
    ///
    /// # Errors
    /// The value is not an integer.
    pub fn int(&self, section: &str, option: &str, fallback: i64) -> Result<i64, ConfigError> {
        let Some(value) = self.raw(section, option) else { return Ok(fallback) };
        let digits: String = stripped(&value).chars().filter(|c| *c != '_').collect();
        digits.parse().map_err(|_| self.bad(section, option, format!("{value:?} is not a whole number")))
    }

    /// A number, or `fallback` when the option is missing.
    ///
    /// # Errors
    /// The value is not a finite number.
    pub fn float(&self, section: &str, option: &str, fallback: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.raw(section, option) else { return Ok(fallback) };
        let number = stripped(&value).parse::<f64>().ok().filter(|n| n.is_finite());
        number.ok_or_else(|| self.bad(section, option, format!("{value:?} is not a number")))
    }

    /// A boolean, or `fallback` when the option is missing or an environment override is not a boolean (Keylime's rule).
    ///
    /// # Errors
    /// The value in the file is not a boolean.
    pub fn boolean(&self, section: &str, option: &str, fallback: bool) -> Result<bool, ConfigError> {
        if let Some(value) = self.overridden(section, option) {
            return Ok(boolean(stripped(&value)).unwrap_or(fallback));
        }
        let Some(value) = self.ini.get(section, option) else { return Ok(fallback) };
        boolean(stripped(value))
            .ok_or_else(|| self.bad(section, option, format!("{value:?} is not a boolean (use True or False)")))
    }

    /// A list written as a Python literal, or as bare comma-separated words with or without brackets (which Keylime's
    /// documentation prints and its reader refuses); `None` when the option is missing or empty.
    ///
    /// # Errors
    /// The value is no list.
    pub fn list(&self, section: &str, option: &str) -> Result<Option<Vec<Value>>, ConfigError> {
        let Some(value) = self.get(section, option).filter(|v| !v.is_empty()) else { return Ok(None) };
        let items = match python_literal::parse(&value) {
            Ok(Literal::Value(Value::Array(items)) | Literal::Tuple(items)) => items,
            Ok(Literal::Value(Value::String(one))) => vec![Value::String(one)],
            Ok(Literal::Value(_)) => return Err(self.bad(section, option, format!("{value:?} is not a list"))),
            Err(e) => place::bare_words(&value)
                .ok_or_else(|| self.bad(section, option, format!("{value:?} is not a list: {e}")))?,
        };
        let trimmed = |item| match item {
            Value::String(text) => Value::from(text.trim()),
            other => other,
        };
        Ok(Some(items.into_iter().map(trimmed).collect()))
    }

    /// A list of strings, or `fallback` when the option is missing or empty.
    ///
    /// # Errors
    /// The value is no list, or an element is no string.
    pub fn string_list(&self, section: &str, option: &str, fallback: &[&str]) -> Result<Vec<String>, ConfigError> {
        let Some(items) = self.list(section, option)? else {
            return Ok(fallback.iter().map(|s| (*s).to_owned()).collect());
        };
        let text = |item| match item {
            Value::String(text) => Ok(text),
            other => Err(self.bad(section, option, format!("{other} is not a string"))),
        };
        items.into_iter().map(text).collect()
    }
}

fn stripped(value: &str) -> &str {
    value.trim_matches(['"', ' ', '\n', '\t'])
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

fn read_file(ini: &mut Ini, path: &Path) -> Result<(), ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
    let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(format!("{size} bytes are more than a configuration may have")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    ini.read(&text).map_err(|e| ConfigError::Syntax {
        path: path.display().to_string(),
        line: e.line,
        problem: e.problem,
    })
}

fn read_installed(component: Component, ini: &mut Ini, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let file = format!("{}.conf", component.name());
    let mut found = false;
    for dir in BASE_DIRS {
        let path = Path::new(dir).join(&file);
        if !path.exists() {
            continue;
        }
        if let Err(e) = std::fs::File::open(&path) {
            warn!(target: "keylime.config", "CRITICAL CONFIG ERROR: {} exists but cannot be read ({e}); check its owner and mode, for example: chown keylime:keylime {}", path.display(), path.display());
            continue;
        }
        read_file(ini, &path)?;
        files.push(path);
        found = true;
        break;
    }
    if !found {
        return Ok(());
    }
    read_snippets(&file, ini, files)
}

/// The file of the user who runs the tenant (2.2.6), over the installed ones.
fn read_users_own(component: Component, ini: &mut Ini, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let Some(home) = place::home().filter(|_| component == Component::Tenant) else { return Ok(()) };
    let path = home.join(".keylime").join("tenant.conf");
    if path.is_file() {
        read_file(ini, &path)?;
        files.push(path);
    }
    Ok(())
}

fn read_snippets(file: &str, ini: &mut Ini, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    for dir in SNIPPET_DIRS {
        let Ok(entries) = std::fs::read_dir(Path::new(dir).join(format!("{file}.d"))) else { continue };
        let mut snippets: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
        snippets.sort();
        for snippet in snippets {
            read_file(ini, &snippet)?;
            files.push(snippet);
        }
    }
    Ok(())
}
