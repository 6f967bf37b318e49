//! The upgrade as a whole: read, carry from format to format, write.

use crate::catalogue::COMPONENTS;
use crate::document::Document;
use crate::error::UpgradeError;
use crate::journal::Journal;
use crate::mapping::{Mapping, Values};
use crate::output;
use crate::render::render;
use crate::template_source::{TemplateSource, read_mapping};
use crate::version::FormatVersion;
use std::path::{Path, PathBuf};

/// What to write, and from what.
#[derive(Debug, Clone)]
pub struct Request {
    /// Components whose files are written, in the order of [`COMPONENTS`].
    pub components: Vec<&'static str>,
    /// Mappings and templates.
    pub templates: TemplateSource,
    /// The one mapping to apply, instead of those of all versions.
    pub mapping: Option<PathBuf>,
    /// Values.
    pub values: Values,
    /// The format to stop at.
    pub target: Option<FormatVersion>,
}

impl Request {
    /// Carries a document to the newest format, or to the one asked for.
    ///
    /// # Errors
    /// A mapping or template is missing or does not fit.
    pub fn upgrade(&self, old: &Document, journal: &Journal) -> Result<Document, UpgradeError> {
        if let Some(path) = &self.mapping {
            if !path.is_file() {
                return Err(UpgradeError::Usage(format!("Could not find provided mapping {}", path.display())));
            }
            return self.step(&read_mapping(path)?, old, None, journal);
        }
        let versions = self.templates.versions()?;
        if let Some(target) = self.target.filter(|target| !versions.contains(target)) {
            let name = self.templates.name();
            return Err(UpgradeError::Usage(format!("Directory for target version {target} not found in {name}")));
        }
        let mut document = old.clone();
        for version in versions.into_iter().filter(|version| self.target.is_none_or(|target| *version <= target)) {
            document = self.step(&self.templates.mapping(version)?, &document, self.target, journal)?;
        }
        Ok(document)
    }

    fn step(
        &self,
        mapping: &Mapping,
        old: &Document,
        target: Option<FormatVersion>,
        journal: &Journal,
    ) -> Result<Document, UpgradeError> {
        let version = mapping.version();
        if !self.components.iter().any(|component| is_older(old, component, version)) {
            journal.info(&format!("Skipping version {version}"));
            return Ok(old.clone());
        }
        if !self.templates.has(version) {
            let name = self.templates.name();
            return Err(UpgradeError::Usage(format!("Could not find the templates of version {version} in {name}")));
        }
        let mut document = mapping.apply(old, self.values, target, journal)?;
        self.templates.adjustment(version).apply(&mut document, &mapping.document, journal)?;
        Ok(document)
    }

    /// Writes the files of the components asked for.
    ///
    /// # Errors
    /// A template is missing or broken, or a file cannot be written.
    pub fn write(&self, document: &Document, directory: &Path, journal: &Journal) -> Result<(), UpgradeError> {
        for component in COMPONENTS.iter().filter(|component| self.components.contains(component)) {
            let version = document.get(component, "version").and_then(FormatVersion::parse).ok_or_else(|| {
                UpgradeError::Usage(format!("the configuration has no version of the component {component}"))
            })?;
            let (name, template) = self.templates.template(version, component)?;
            let text = render(&name, &template, document)?;
            output::write(&directory.join(format!("{component}.conf")), component, &text, journal)?;
        }
        Ok(())
    }
}

fn is_older(document: &Document, component: &str, version: FormatVersion) -> bool {
    document.get(component, "version").and_then(FormatVersion::parse).is_none_or(|old| old < version)
}
