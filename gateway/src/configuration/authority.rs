//! `ca.conf` (`config.md` §6), read only when a server makes its own authority.

use super::ConfigurationError;
use keylime_pki::authority::{KeyAlgorithm, Subject};
use keylime_settings::Config;

const SECTION: &str = "ca";

/// What a generated authority is made with.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityConfiguration {
    /// `password` of the keystore.
    pub password: String,
    /// What goes into certificates.
    pub subject: Subject,
}

impl AuthorityConfiguration {
    /// Reads `[ca]`.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn read(config: &Config) -> Result<Self, ConfigurationError> {
        let defaults = Subject::default();
        let text = |option: &str, fallback: &str| config.get_or(SECTION, option, fallback);
        let number = |option: &'static str, fallback: u32| -> Result<u32, ConfigurationError> {
            let value = config.int(SECTION, option, fallback.into())?;
            u32::try_from(value).map_err(|_| ConfigurationError::value(option, format!("{value} makes no sense")))
        };
        // An empty password means the default one, as for the reference's servers.
        let password = config.get(SECTION, "password").filter(|password| !password.is_empty());
        let password = password.unwrap_or_else(|| "default".to_owned());
        if password == "default" {
            tracing::warn!(target: "keylime.ca_util", "Using 'default' password option from CA configuration file");
        }
        Ok(Self {
            password,
            subject: Subject {
                country: text("cert_country", &defaults.country),
                state: text("cert_state", &defaults.state),
                locality: text("cert_locality", &defaults.locality),
                organization: text("cert_organization", &defaults.organization),
                org_unit: text("cert_org_unit", &defaults.org_unit),
                ca_name: text("cert_ca_name", &defaults.ca_name),
                ca_lifetime_days: number("cert_ca_lifetime", defaults.ca_lifetime_days)?,
                lifetime_days: number("cert_lifetime", defaults.lifetime_days)?,
                algorithm: KeyAlgorithm::from_option(&text("cert_key_algorithm", "rsa")).ok_or_else(|| {
                    ConfigurationError::value("cert_key_algorithm", "is none of rsa, ecdsa, ecdsa-p256, ecdsa-p384")
                })?,
                bits: number("cert_bits", defaults.bits)?,
                crl_url: text("cert_crl_dist", &defaults.crl_url),
            },
        })
    }
}
