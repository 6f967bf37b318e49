//! Options that verifier and registrar have in common.

use super::ConfigurationError;
use keylime_schema::database::PoolSize;
use keylime_settings::{Config, expanded};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Where a server listens, and its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct WebConfiguration {
    /// `ip`: address or host name.
    pub ip: String,
    /// Port of HTTPS.
    pub https_port: u16,
    /// Port of HTTP, where the component has one.
    pub http_port: Option<u16>,
    /// `max_upload_size`, bytes.
    pub max_upload_size: u64,
    /// `max_workers`; 0 means as many as there are processors.
    pub max_workers: usize,
    /// `authorization_provider`.
    pub authorization_provider: String,
    /// `shutdown_drain_timeout`.
    pub shutdown_drain: Duration,
    /// `metrics_listen`: address and port of metrics and health, an option of ours; off when empty.
    pub metrics_listen: Option<String>,
}

impl WebConfiguration {
    /// Reads the options; `https_port` and `http_port` are (option, default) pairs.
    pub(super) fn read(
        config: &Config,
        https_port: (&'static str, u16),
        http_port: Option<(&'static str, u16)>,
    ) -> Result<Self, ConfigurationError> {
        let section = config.component().name();
        let ip = config.get_or(section, "ip", "127.0.0.1");
        if ip.is_empty() {
            return Err(ConfigurationError::value("ip", "an address to listen on is required"));
        }
        let drain = config.float(section, "shutdown_drain_timeout", 10.0)?;
        Ok(Self {
            ip,
            https_port: port(config, https_port)?,
            http_port: http_port.map(|option| port(config, option)).transpose()?,
            max_upload_size: u64::try_from(tolerant_int(config, "max_upload_size", 104_857_600))
                .map_err(|_| ConfigurationError::value("max_upload_size", "must not be negative"))?,
            max_workers: usize::try_from(tolerant_int(config, "max_workers", 16)).unwrap_or(0),
            authorization_provider: config.get_or(section, "authorization_provider", "simple"),
            shutdown_drain: seconds("shutdown_drain_timeout", drain)?,
            metrics_listen: config.get(section, "metrics_listen").filter(|listen| !listen.is_empty()),
        })
    }

    /// Worker threads for this many processors.
    #[must_use]
    pub fn workers(&self, processors: usize) -> usize {
        if self.max_workers == 0 { processors } else { self.max_workers.min(processors) }
    }
}

/// A whole number with Keylime's rule for web servers: what cannot be parsed is warned about and replaced.
fn tolerant_int(config: &Config, option: &str, fallback: i64) -> i64 {
    let component = config.component().name();
    config.int(component, option, fallback).unwrap_or_else(|_| {
        let value = config.get_or(component, option, "");
        tracing::warn!(
            target: "keylime.web",
            "Cannot parse '{value}' as int for option '{option}' (component: {component}), using fallback: {fallback}"
        );
        fallback
    })
}

fn port(config: &Config, (option, fallback): (&'static str, u16)) -> Result<u16, ConfigurationError> {
    u16::try_from(tolerant_int(config, option, fallback.into()))
        .map_err(|_| ConfigurationError::value(option, "is no port number"))
}

/// A duration that must not be negative.
pub(super) fn seconds(option: &'static str, value: f64) -> Result<Duration, ConfigurationError> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| ConfigurationError::value(option, format!("{value} is no number of seconds")))
}

/// The directory of a server's TLS files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsDirectory {
    /// `generate`: made on the first start.
    Generate,
    /// `default`: `cv_ca` in the working directory.
    Default,
    /// A path, relative to the working directory.
    Path(PathBuf),
}

/// Whose certificates a server or client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedAuthorities {
    /// `default`: the authority in `cv_ca` of the working directory.
    Default,
    /// `all`.
    All,
    /// These files, relative to the TLS directory.
    Files(Vec<PathBuf>),
}

/// The TLS options as they stand in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsConfiguration {
    /// `tls_dir`.
    pub directory: TlsDirectory,
    /// `server_key`; `None` is `default`.
    pub server_key: Option<PathBuf>,
    /// `server_cert`; `None` is `default`.
    pub server_cert: Option<PathBuf>,
    /// `server_key_password`; `None` when the key is not encrypted.
    pub server_key_password: Option<String>,
    /// `cert_subject_alternative_names`.
    pub subject_alternative_names: Vec<String>,
    /// `trusted_client_ca`.
    pub trusted_client_ca: TrustedAuthorities,
}

impl std::fmt::Debug for TlsConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConfiguration").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl TlsConfiguration {
    pub(super) fn read(config: &Config, default_directory: &str) -> Result<Self, ConfigurationError> {
        let section = config.component().name();
        let directory = match config.place(section, "tls_dir").as_deref().unwrap_or(default_directory) {
            "" => return Err(ConfigurationError::value("tls_dir", "must not be empty")),
            "generate" => TlsDirectory::Generate,
            "default" => TlsDirectory::Default,
            path => TlsDirectory::Path(path.into()),
        };
        let names = config.get_or(section, "cert_subject_alternative_names", "");
        Ok(Self {
            directory,
            server_key: file(config, "server_key")?,
            server_cert: file(config, "server_cert")?,
            server_key_password: password(config, "server_key_password"),
            subject_alternative_names: names
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|n| !n.is_empty())
                .collect(),
            trusted_client_ca: trusted(config, "trusted_client_ca")?,
        })
    }
}

/// A file option: `None` for `default`.
pub(super) fn file(config: &Config, option: &'static str) -> Result<Option<PathBuf>, ConfigurationError> {
    match config.place(config.component().name(), option).as_deref().unwrap_or("default") {
        "" => Err(ConfigurationError::value(option, "must be a file or 'default'")),
        "default" => Ok(None),
        path => Ok(Some(path.into())),
    }
}

pub(super) fn password(config: &Config, option: &str) -> Option<String> {
    config.get(config.component().name(), option).filter(|password| !password.is_empty())
}

pub(super) fn trusted(config: &Config, option: &'static str) -> Result<TrustedAuthorities, ConfigurationError> {
    let section = config.component().name();
    match config.place(section, option).as_deref().unwrap_or("default") {
        "" => Err(ConfigurationError::value(option, "must be 'default', 'all' or a list of files")),
        "default" => Ok(TrustedAuthorities::Default),
        "all" => Ok(TrustedAuthorities::All),
        _ => {
            let files = config.string_list(section, option, &[])?;
            if files.is_empty() {
                return Err(ConfigurationError::value(option, "the list of files is empty"));
            }
            Ok(TrustedAuthorities::Files(files.iter().map(|file| expanded(file).into()).collect()))
        }
    }
}

/// The database of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseConfiguration {
    /// `database_url`, in SQLAlchemy's forms.
    pub url: String,
    /// `database_pool_sz_ovfl`.
    pub pool: PoolSize,
    /// `auto_migrate_db`.
    pub auto_migrate: bool,
}

impl std::fmt::Debug for DatabaseConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("DatabaseConfiguration").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl DatabaseConfiguration {
    pub(super) fn read(config: &Config) -> Result<Self, ConfigurationError> {
        let section = config.component().name();
        let pool = config.get_or(section, "database_pool_sz_ovfl", "5,10");
        let pool = PoolSize::parse(&pool)
            .map_err(|error| ConfigurationError::value("database_pool_sz_ovfl", error.to_string()))?;
        Ok(Self {
            url: config.get_or(section, "database_url", "sqlite"),
            pool,
            auto_migrate: config.boolean(section, "auto_migrate_db", true)?,
        })
    }
}

/// Refuses the options of durable attestation by name.
pub(super) fn refuse_durable_attestation(config: &Config) -> Result<(), ConfigurationError> {
    let section = config.component().name();
    for option in [
        "durable_attestation_import",
        "persistent_store_url",
        "transparency_log_url",
        "time_stamp_authority_url",
        "time_stamp_authority_certs_path",
    ] {
        if config.get(section, option).is_some_and(|value| !value.is_empty()) {
            return Err(ConfigurationError::Unsupported { option, feature: "durable attestation" });
        }
    }
    Ok(())
}

/// Checks the form of `version`.
pub(super) fn check_version(config: &Config) -> Result<(), ConfigurationError> {
    let version = config.get_or(config.component().name(), "version", "1.0");
    match keylime_schema::wire::api_version::ApiVersion::parse(&version) {
        Some(_) if !version.starts_with('v') => Ok(()),
        Some(_) | None => Err(ConfigurationError::value("version", format!("'{version}' is not of the form M.m"))),
    }
}

/// A list whose elements are objects.
pub(super) fn objects(
    config: &Config,
    option: &'static str,
) -> Result<Option<Vec<serde_json::Map<String, Value>>>, ConfigurationError> {
    let Some(items) = config.list(config.component().name(), option)? else { return Ok(None) };
    let object = |item| match item {
        Value::Object(object) => Ok(object),
        other => Err(ConfigurationError::value(option, format!("{other} is no dictionary"))),
    };
    items.into_iter().map(object).collect::<Result<_, _>>().map(Some)
}
