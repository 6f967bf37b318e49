//! From the TLS options to a listener's TLS configuration.

use crate::configuration::{
    AuthorityConfiguration, ConfigurationError, TlsConfiguration, TlsDirectory, TrustedAuthorities,
};
use crate::tls::{AlternativeNames, GenerateError, Generated, ServerTlsFiles, TlsPaths, TlsSetupError, generate};
use keylime_schema::database::DatabaseError;
use keylime_settings::{Component, Config, ConfigError};
use std::io;
use std::path::Path;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The files of the configuration.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The authority.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A socket or a thread.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else, in words for the operator.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    /// Something the system refused.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

/// Makes the files if the configuration says so, and finds them.
///
/// # Errors
/// When files contradict the configuration, cannot be made or are missing.
pub fn server_tls(
    paths: &TlsPaths,
    tls: &TlsConfiguration,
    listen: &str,
    not_default: Vec<&'static str>,
    wanted: Generated<'_>,
) -> Result<ServerTlsFiles, StartError> {
    if tls.directory == TlsDirectory::Generate {
        let mut not_default = not_default;
        not_default.extend(contradictions(tls));
        if !not_default.is_empty() {
            return Err(GenerateError::NotDefault(not_default).into());
        }
        let authority = AuthorityConfiguration::read(&Config::load(Component::Ca)?)?;
        let names = AlternativeNames::of_this_host(listen, &tls.subject_alternative_names);
        generate(paths, &authority, &names, tls.server_key_password.as_deref(), wanted)?;
    }
    Ok(ServerTlsFiles::locate(paths, tls)?)
}

/// The options that have to be `default` for `tls_dir = generate`, and are not.
fn contradictions(tls: &TlsConfiguration) -> Vec<&'static str> {
    let options = [
        ("server_cert", tls.server_cert.is_none()),
        ("server_key", tls.server_key.is_none()),
        ("trusted_client_ca", tls.trusted_client_ca == TrustedAuthorities::Default),
    ];
    options.into_iter().filter(|(_, is_default)| !is_default).map(|(option, _)| option).collect()
}

/// Refuses a working directory that is not there, in words that say how to mend it.
///
/// # Errors
/// When it is missing.
pub fn require_work_dir(work_dir: &Path) -> Result<(), StartError> {
    if work_dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(work_dir)
        .map_err(StartError::system(format!("cannot make the working directory {}", work_dir.display())))
}
