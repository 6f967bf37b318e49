//! Where mappings and templates come from: the catalogue, or a directory of the operator.

use crate::adjustment::Adjustment;
use crate::builtin_templates::{self, ADJUST_SCRIPT};
use crate::catalogue::{self, ComponentOptions, VERSIONS};
use crate::error::UpgradeError;
use crate::mapping::Mapping;
use crate::version::FormatVersion;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a distribution installs the templates.
pub const INSTALLED: &str = "/usr/share/keylime/templates";
/// Largest mapping or template that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Mappings and templates.
#[derive(Debug, Clone)]
pub enum TemplateSource {
    /// Made from the catalogue.
    BuiltIn(Vec<ComponentOptions>),
    /// A directory with one subdirectory for each version.
    Directory(PathBuf),
}

impl TemplateSource {
    /// The directory named on the command line; without one the built-in templates, whose output is the same as that of
    /// those installed with them.
    ///
    /// # Errors
    /// The directory is not there, or not a directory.
    pub fn choose(directory: Option<&Path>) -> Result<Self, UpgradeError> {
        let Some(directory) = directory else { return Ok(Self::BuiltIn(catalogue::load()?)) };
        if !directory.exists() {
            return Err(UpgradeError::Usage(format!("Templates directory {} does not exist", directory.display())));
        }
        if !directory.is_dir() {
            return Err(UpgradeError::Usage(format!("File {} is not a directory", directory.display())));
        }
        Ok(Self::Directory(directory.to_owned()))
    }

    /// What to call it in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::BuiltIn(_) => "the built-in templates".to_owned(),
            Self::Directory(directory) => directory.display().to_string(),
        }
    }

    /// The versions there are, oldest first.
    ///
    /// # Errors
    /// The directory cannot be read, or is empty.
    pub fn versions(&self) -> Result<Vec<FormatVersion>, UpgradeError> {
        let Self::Directory(directory) = self else { return Ok(VERSIONS.to_vec()) };
        let entries = fs::read_dir(directory).map_err(UpgradeError::file(directory))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let versions: BTreeSet<FormatVersion> = names.filter_map(|name| FormatVersion::parse(&name)).collect();
        if versions.is_empty() {
            return Err(UpgradeError::Usage(format!("No directories found in {} for versions", directory.display())));
        }
        Ok(versions.into_iter().collect())
    }

    /// Whether there are templates for a version.
    #[must_use]
    pub fn has(&self, version: FormatVersion) -> bool {
        match self {
            Self::BuiltIn(_) => VERSIONS.contains(&version),
            Self::Directory(directory) => directory.join(version.to_string()).is_dir(),
        }
    }

    /// The mapping to a version.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub fn mapping(&self, version: FormatVersion) -> Result<Mapping, UpgradeError> {
        match self {
            Self::BuiltIn(catalogue) => {
                let text = builtin_templates::mapping(catalogue, version).to_string();
                Mapping::parse(&format!("{version}/mapping.json"), &text)
            }
            Self::Directory(directory) => {
                let path = directory.join(version.to_string()).join("mapping.json");
                if !path.is_file() {
                    return Err(UpgradeError::Usage(format!("Could not find mapping {}", path.display())));
                }
                read_mapping(&path)
            }
        }
    }

    /// What follows the mapping to a version.
    #[must_use]
    pub fn adjustment(&self, version: FormatVersion) -> Adjustment {
        match self {
            Self::BuiltIn(_) if version == VERSIONS[0] => Adjustment::BuiltIn,
            Self::BuiltIn(_) => Adjustment::None,
            Self::Directory(directory) => Adjustment::of_directory(&directory.join(version.to_string())),
        }
    }

    /// The template of a component, and its name in messages.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn template(&self, version: FormatVersion, component: &str) -> Result<(String, String), UpgradeError> {
        match self {
            Self::BuiltIn(catalogue) => {
                let missing = || UpgradeError::Usage(format!("no template for {component}"));
                let options = catalogue.iter().find(|options| options.component == component).ok_or_else(missing)?;
                Ok((format!("{version}/{component}.j2"), builtin_templates::template(options, version)))
            }
            Self::Directory(directory) => {
                let path = directory.join(version.to_string());
                if !path.is_dir() {
                    return Err(UpgradeError::Usage(format!("Could not find directory {}", path.display())));
                }
                let path = path.join(format!("{component}.j2"));
                if !path.exists() {
                    return Err(UpgradeError::Usage(format!("Template file {} not found", path.display())));
                }
                Ok((path.display().to_string(), read(&path)?))
            }
        }
    }
}

/// Reads a mapping file.
///
/// # Errors
/// It cannot be read or used.
pub fn read_mapping(path: &Path) -> Result<Mapping, UpgradeError> {
    Mapping::parse(&path.display().to_string(), &read(path)?)
}

/// Writes the built-in mappings and templates into a directory, to be installed or changed.
///
/// # Errors
/// A file cannot be written.
pub fn export(directory: &Path) -> Result<(), UpgradeError> {
    let catalogue = catalogue::load()?;
    for version in VERSIONS {
        let folder = directory.join(version.to_string());
        fs::create_dir_all(&folder).map_err(UpgradeError::file(&folder))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(UpgradeError::file(&path))
        };
        let mapping = builtin_templates::mapping(&catalogue, version);
        write("mapping.json", &format!("{mapping:#}\n"))?;
        for component in &catalogue {
            write(&format!("{}.j2", component.component), &builtin_templates::template(component, version))?;
        }
        if version == VERSIONS[0] {
            write("adjust.py", ADJUST_SCRIPT)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, UpgradeError> {
    let size = fs::metadata(path).map_err(UpgradeError::file(path))?.len();
    if size > MAX_FILE_BYTES {
        return Err(UpgradeError::File { path: path.to_owned(), reason: format!("{size} bytes are too many") });
    }
    fs::read_to_string(path).map_err(UpgradeError::file(path))
}
