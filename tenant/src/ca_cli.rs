//! The commands of `keylime_ca` (`ca.md` §1).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keylime_pki::authority::{Authority, AuthorityError};
use keylime_settings::work_dir;
use tracing::{info, warn};

use crate::argument_parser::{Matches, Need, OptionSpec, Parser};
use crate::ca_settings::{self, CaSettingsError};
use crate::revocation_list_server::{self, ServeError};

/// The options of `keylime_ca`.
pub const PARSER: Parser = Parser::new(
    "keylime_ca",
    &[
        OptionSpec::help(),
        OptionSpec::version(),
        OptionSpec {
            need: Need::Required,
            ..OptionSpec::value(
                &["-c", "--command"],
                "command",
                "what to do: init, create, pkg, revoke, listen or import-priv",
            )
        },
        OptionSpec::value(&["-n", "--name"], "name", "common name of the certificate"),
        OptionSpec::value(&["-d", "--dir"], "dir", "directory of the authority, instead of the usual one"),
        OptionSpec::flag(&["-i", "--insecure"], "insecure", "package the private key without protection"),
        OptionSpec::value(&["-f", "--file"], "file", "file with the authority's private key, for import-priv"),
        OptionSpec::value(&["-s", "--serial"], "serial", "serial number the authority used last, for import-priv"),
    ],
);

/// What `--command` may be.
pub const COMMANDS: [&str; 6] = ["init", "create", "pkg", "revoke", "listen", "import-priv"];

/// The arguments with `-c` before a command that is given without it, as the documentation prints it (2.2.6):
/// `keylime_ca -d DIR create -n NAME`.
#[must_use]
pub fn with_named_command(arguments: Vec<String>) -> Vec<String> {
    let mut result = Vec::with_capacity(arguments.len() + 1);
    let mut is_value = false;
    let mut has_command = false;
    for argument in arguments {
        if !is_value && !has_command && COMMANDS.contains(&argument.as_str()) {
            result.push("-c".to_owned());
            has_command = true;
        } else {
            has_command |= argument.starts_with("-c") || argument.starts_with("--c");
        }
        is_value = PARSER.options.iter().any(|o| o.takes_value() && o.spellings.contains(&argument.as_str()));
        result.push(argument);
    }
    result
}

/// How long a client of the revocation list server may take for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// An option the command needs is missing, or the command is unknown: the help text follows.
    #[error("{0}")]
    Usage(String),
    /// The options of `ca.conf` or the password.
    #[error(transparent)]
    Settings(#[from] CaSettingsError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be read, or the working directory cannot be used.
    #[error("{0}")]
    File(String),
    /// The revocation list cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Runs the command of a command line.
///
/// # Errors
/// See [`CaError`].
pub fn run(matches: &Matches) -> Result<(), CaError> {
    let directory = directory(matches)?;
    match matches.value("command").unwrap_or_default() {
        "init" => init(&directory),
        "create" => create(&directory, name(matches)?),
        "pkg" => package(&directory, name(matches)?, matches.is_present("insecure")),
        "revoke" => revoke(&directory, name(matches)?),
        "import-priv" => import(&directory, matches),
        "listen" => listen(&directory),
        other => Err(CaError::Usage(format!("Invalid command: {other}"))),
    }
}

fn directory(matches: &Matches) -> Result<PathBuf, CaError> {
    if let Some(directory) = matches.value("dir") {
        return Ok(PathBuf::from(directory));
    }
    let work_dir = work_dir();
    let directory = work_dir.join("ca");
    fs::create_dir_all(&directory).map_err(|_| {
        CaError::Usage(format!(
            "If you don't specify a working directory, this process must be run as a user with access to {}",
            work_dir.display()
        ))
    })?;
    Ok(directory)
}

fn name(matches: &Matches) -> Result<&str, CaError> {
    matches
        .value("name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| CaError::Usage("you must pass in a name for the certificate using -n (or --name)".to_owned()))
}

fn open(directory: &Path) -> Result<Authority, CaError> {
    let config = ca_settings::load()?;
    let subject = ca_settings::subject(&config)?;
    Ok(Authority::open(directory, &ca_settings::password(&config)?)?.with_subject(subject))
}

fn init(directory: &Path) -> Result<(), CaError> {
    let config = ca_settings::load()?;
    Authority::init(directory, &ca_settings::subject(&config)?, &ca_settings::password(&config)?)?;
    info!(target: "keylime.ca-util", "CA certificate created successfully in {}", directory.display());
    Ok(())
}

fn create(directory: &Path, name: &str) -> Result<(), CaError> {
    open(directory)?.issue(name, &[], &[], None)?;
    info!(target: "keylime.ca-util", "Created certificate for name {name} successfully in {}", directory.display());
    Ok(())
}

fn package(directory: &Path, name: &str, is_insecure: bool) -> Result<(), CaError> {
    let authority = open(directory)?;
    if is_insecure {
        warn!(target: "keylime.ca-util", "Unprotected private keys in cert package being written to disk");
    }
    info!(target: "keylime.ca-util", "Creating cert package for {name} in {name}-pkg.zip");
    authority.write_package(name, &authority.package(name)?)?;
    Ok(())
}

fn revoke(directory: &Path, name: &str) -> Result<(), CaError> {
    Ok(open(directory)?.revoke(name)?)
}

fn import(directory: &Path, matches: &Matches) -> Result<(), CaError> {
    let missing = "you must pass in the last serial number the CA has used using -s (or --serial)";
    let serial = matches.value("serial").ok_or_else(|| CaError::Usage(missing.to_owned()))?;
    let serial = serial.trim().parse().map_err(|_| CaError::Usage(format!("'{serial}' is not a serial number")))?;
    let file = matches.value("file").unwrap_or("ca-private.pem");
    let key = crate::payload::read(Path::new(file)).map_err(|error| CaError::File(error.to_string()))?;
    let password = ca_settings::password(&ca_settings::load()?)?;
    fs::create_dir_all(directory).map_err(|error| CaError::File(format!("{}: {error}", directory.display())))?;
    Ok(Authority::import_key(directory, &password, &key, serial)?)
}

/// Serves the revocation list at the address certificates name, as older releases of Keylime did.
fn listen(directory: &Path) -> Result<(), CaError> {
    let url = ca_settings::subject(&ca_settings::load()?)?.crl_url;
    revocation_list_server::serve(directory, &url, REQUEST_TIMEOUT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> String {
        with_named_command(line.split(' ').map(str::to_owned).collect()).join(" ")
    }

    #[test]
    fn a_command_needs_no_flag_before_it() {
        assert_eq!(named("-d /ca create -n admin1.example.com"), "-d /ca -c create -n admin1.example.com");
        assert_eq!(named("-c create -n create"), "-c create -n create");
        assert_eq!(named("-n pkg -d init pkg"), "-n pkg -d init -c pkg");
        assert_eq!(named("-n x"), "-n x");
    }
}
