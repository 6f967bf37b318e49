//! The old configuration: which files it is in, read together into one document.

use crate::catalogue::COMPONENTS;
use crate::document::Document;
use crate::error::UpgradeError;
use crate::journal::Journal;
use keylime_settings::ini::{Ini, MAX_FILE_BYTES};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Variables that name files, in the order in which they are read.
const VARIABLES: [&str; 7] = [
    "KEYLIME_LOGGING_CONFIG",
    "KEYLIME_CA_CONFIG",
    "KEYLIME_TENANT_CONFIG",
    "KEYLIME_REGISTRAR_CONFIG",
    "KEYLIME_VERIFIER_CONFIG",
    "KEYLIME_AGENT_CONFIG",
    "KEYLIME_CONFIG",
];
const DIRECTORIES: [&str; 2] = ["/usr/etc/keylime", "/etc/keylime"];
const UNVERSIONED: [&str; 2] = ["/usr/etc/keylime.conf", "/etc/keylime.conf"];

/// Reads the files named on the command line, or else the installed ones; later files win.
///
/// # Errors
/// None of the named files is there, or a file breaks its syntax.
pub fn read(given: &[PathBuf], journal: &Journal) -> Result<Document, UpgradeError> {
    let files = if given.is_empty() { installed(journal) } else { existing(given)? };
    if files.is_empty() {
        journal.info("Could not find configuration files in default locations. Using default values for all options");
        return Ok(Document::default());
    }
    let mut ini = Ini::default();
    let mut read = Vec::new();
    for path in &files {
        let Ok(text) = text(path) else {
            journal.warning(&format!("Could not read {}, check its permissions", path.display()));
            continue;
        };
        ini.read(&text).map_err(|error| UpgradeError::Syntax {
            path: path.clone(),
            line: error.line,
            problem: error.problem,
        })?;
        read.push(format!("'{}'", path.display()));
    }
    if read.is_empty() {
        return Err(UpgradeError::Usage(
            "Could not parse any configuration, please check the files syntax and permissions".to_owned(),
        ));
    }
    journal.info(&format!("Successfully read configuration from [{}]", read.join(", ")));
    Ok(Document::from_ini(&ini))
}

fn existing(given: &[PathBuf]) -> Result<Vec<PathBuf>, UpgradeError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in given.iter().filter(|path| path.exists()) {
        if !files.contains(path) {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        let names: Vec<String> = given.iter().map(|path| path.display().to_string()).collect();
        return Err(UpgradeError::Usage(format!("None of the provided files in {} exist", names.join(", "))));
    }
    Ok(files)
}

fn installed(journal: &Journal) -> Vec<PathBuf> {
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let split = DIRECTORIES.iter().flat_map(|directory| {
        COMPONENTS.iter().map(move |component| Path::new(directory).join(format!("{component}.conf")))
    });
    let files: Vec<PathBuf> = named.chain(split).filter(|path| path.exists()).collect();
    if !files.is_empty() {
        return files;
    }
    journal.debug("Could not find configuration files, trying to find old configuration");
    UNVERSIONED.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("more bytes than a configuration may have"));
    }
    Ok(text)
}
