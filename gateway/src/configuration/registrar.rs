//! `registrar.conf` (`config.md` §4).

use super::shared::{check_version, refuse_durable_attestation};
use super::{ConfigurationError, DatabaseConfiguration, TlsConfiguration, WebConfiguration};
use keylime_settings::Config;

/// The registrar's options.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrarConfiguration {
    /// Listeners.
    pub web: WebConfiguration,
    /// TLS.
    pub tls: TlsConfiguration,
    /// Database.
    pub database: DatabaseConfiguration,
    /// `tpm_identity`.
    pub tpm_identity: String,
    /// `malformed_cert_action`.
    pub malformed_cert_action: String,
}

impl RegistrarConfiguration {
    /// Reads `[registrar]`.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn read(config: &Config) -> Result<Self, ConfigurationError> {
        const SECTION: &str = "registrar";
        check_version(config)?;
        refuse_durable_attestation(config)?;
        Ok(Self {
            web: WebConfiguration::read(config, ("tls_port", 8891), Some(("port", 8890)))?,
            tls: TlsConfiguration::read(config, "default")?,
            database: DatabaseConfiguration::read(config)?,
            tpm_identity: config.get_or(SECTION, "tpm_identity", "default"),
            malformed_cert_action: one_of(
                "malformed_cert_action",
                config.get_or(SECTION, "malformed_cert_action", "warn"),
                &["warn", "reject", "ignore"],
            )?,
        })
    }
}

fn one_of(option: &'static str, value: String, known: &[&str]) -> Result<String, ConfigurationError> {
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(ConfigurationError::value(option, format!("'{value}' is none of {}", known.join(", "))))
}
