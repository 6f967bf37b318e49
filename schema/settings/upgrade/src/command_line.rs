//! The command line of `keylime_upgrade_config`.

use crate::catalogue::COMPONENTS;
use crate::document::Document;
use crate::error::UpgradeError;
use crate::input;
use crate::journal::{Detail, Journal};
use crate::mapping::Values;
use crate::template_source::{self, TemplateSource};
use crate::upgrade::Request;
use crate::version::FormatVersion;
use clap::{ArgAction, Parser};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "Snippets in COMPONENT.conf.d directories and KEYLIME_COMPONENT_OPTION variables are left alone: \
                          they keep overriding the files. Messages go to standard error.";

/// Brings Keylime's configuration files to a newer format, or writes complete files with the defaults.
#[derive(Debug, Parser)]
#[command(name = "keylime_upgrade_config", infer_long_args = true, disable_version_flag = true, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Components whose files are written, even when they are up to date: agent, verifier, tenant, registrar, ca, logging.
    /// All of them if none is given
    #[arg(long, value_name = "COMPONENT", num_args = 1.., action = ArgAction::Append)]
    pub component: Vec<String>,
    /// Also print DEBUG messages
    #[arg(long)]
    pub debug: bool,
    /// Files to read, instead of the installed ones; later ones win
    #[arg(long, value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub input: Vec<PathBuf>,
    /// Directory to write to, even when nothing changed; /etc/keylime for root, else the current one. Files that are there
    /// are kept as FILE.bkp
    #[arg(long, alias = "output", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Apply only this mapping, a JSON file, instead of those of all versions
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// Directory with mappings and templates, one subdirectory for each version, instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Format to write, instead of the newest
    #[arg(long, value_name = "MAJOR.MINOR")]
    pub version: Option<String>,
    /// Read nothing and write the defaults
    #[arg(long)]
    pub defaults: bool,
    /// Write the built-in mappings and templates into a directory, and end
    #[arg(long, value_name = "DIR", exclusive = true)]
    pub export_templates: Option<PathBuf>,
}

/// Does what a command line asks for.
///
/// # Errors
/// See [`UpgradeError`].
pub fn run(arguments: &Arguments, journal: &Journal) -> Result<(), UpgradeError> {
    if let Some(directory) = &arguments.export_templates {
        return template_source::export(directory);
    }
    let directory = output_directory(arguments.out.as_deref())?;
    let request = request(arguments, journal)?;
    journal.debug(&format!("Using templates from {}", request.templates.name()));
    let old = if arguments.defaults { Document::default() } else { input::read(&arguments.input, journal)? };
    let new = request.upgrade(&old, journal)?;
    if new == old {
        journal.info("Configuration is up-to-date");
        if arguments.out.is_none() && arguments.component.is_empty() {
            return Ok(());
        }
    }
    request.write(&new, &directory, journal)
}

/// How much a command line wants to be told.
#[must_use]
pub fn detail(arguments: &Arguments) -> Detail {
    if arguments.debug { Detail::Debug } else { Detail::Usual }
}

fn output_directory(given: Option<&Path>) -> Result<PathBuf, UpgradeError> {
    let directory = given.filter(|path| !path.as_os_str().is_empty()).map_or_else(
        || if nix::unistd::geteuid().is_root() { PathBuf::from("/etc/keylime") } else { PathBuf::from(".") },
        Path::to_owned,
    );
    if !directory.exists() {
        return Err(UpgradeError::Usage(format!("Output directory {} does not exist", directory.display())));
    }
    if !directory.is_dir() {
        return Err(UpgradeError::Usage(format!("File {} is not a directory", directory.display())));
    }
    Ok(directory)
}

fn request(arguments: &Arguments, journal: &Journal) -> Result<Request, UpgradeError> {
    for unknown in arguments.component.iter().filter(|name| !COMPONENTS.contains(&name.as_str())) {
        journal.debug(&format!("Unknown component {unknown}, skipping"));
    }
    let is_wanted =
        |component: &&'static str| arguments.component.is_empty() || arguments.component.iter().any(|c| c == component);
    let target = arguments.version.as_deref().map(|text| {
        FormatVersion::parse(text).ok_or_else(|| {
            UpgradeError::Usage(format!("Invalid version {text} specified in --version: Expected 'MAJOR.MINOR' format"))
        })
    });
    Ok(Request {
        components: COMPONENTS.iter().copied().filter(is_wanted).collect(),
        target: target.transpose()?,
        templates: TemplateSource::choose(arguments.templates.as_deref())?,
        mapping: arguments.mapping.clone(),
        values: if arguments.defaults { Values::Defaults } else { Values::Kept },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_files_and_components_may_be_repeated_and_abbreviated() {
        let arguments = Arguments::try_parse_from([
            "keylime_upgrade_config",
            "--comp",
            "agent",
            "verifier",
            "--component",
            "ca",
            "--input",
            "a",
            "b",
            "--output",
            "/tmp",
            "--version",
            "2.5",
            "--debug",
        ])
        .unwrap();
        assert_eq!(arguments.component, ["agent", "verifier", "ca"]);
        assert_eq!(arguments.input, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!((arguments.out, arguments.version.as_deref()), (Some("/tmp".into()), Some("2.5")));
        assert!(Arguments::try_parse_from(["keylime_upgrade_config", "--nothing"]).is_err());
    }
}
