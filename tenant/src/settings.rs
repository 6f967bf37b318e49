//! The options of `tenant.conf`, read once (`config.md` §5).

use std::path::PathBuf;
use std::time::Duration;

use keylime_settings::{Component, Config, ConfigError, work_dir};

use crate::address::Address;
use crate::retry_delay::{Growth, RetryPolicy};

const SECTION: &str = "tenant";

/// Whether agents are spoken to with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentMtls {
    /// With mutual TLS, if they registered a certificate.
    Enabled,
    /// Never (`enable_agent_mtls = False`).
    Disabled,
}

/// How an agent's endorsement key is checked before it gets anything.
#[derive(Debug, Clone)]
pub struct EndorsementSettings {
    /// Whether a certificate from the store is needed.
    pub requirement: EkCertificateRequirement,
    /// A program that decides as well, absolute.
    pub check_script: Option<PathBuf>,
    /// Directory with the manufacturers' certificates.
    pub store: PathBuf,
    /// Directory the program runs in.
    pub work_dir: PathBuf,
}

/// Whether an endorsement key needs a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EkCertificateRequirement {
    /// One that a certificate of the store has signed.
    Required,
    /// None (`require_ek_cert = False`).
    NotRequired,
}

/// Algorithms an agent may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedAlgorithms {
    /// Hash algorithms.
    pub hash: Vec<String>,
    /// Encryption algorithms.
    pub encryption: Vec<String>,
    /// Signing algorithms.
    pub signing: Vec<String>,
}

/// The tenant's options.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the verifier listens.
    pub verifier: Address,
    /// Where the registrar listens.
    pub registrar: Address,
    /// Whether agents are spoken to with TLS.
    pub agent_mtls: AgentMtls,
    /// Limit of one request.
    pub request_timeout: Duration,
    /// When requests are repeated.
    pub retry: RetryPolicy,
    /// Longest payload, in bytes of base64.
    pub max_payload_size: usize,
    /// Algorithms agents may use.
    pub accepted: AcceptedAlgorithms,
    /// How endorsement keys are checked.
    pub endorsement: EndorsementSettings,
    /// File that `--mb-policy default` stands for.
    pub mb_refstate: Option<String>,
    /// The configuration they came from, for the TLS options.
    pub config: Config,
}

impl Settings {
    /// Reads the installed configuration.
    ///
    /// # Errors
    /// A file cannot be understood, or an option has no sensible value.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_config(Config::load(Component::Tenant)?)
    }

    /// Reads the options of a configuration.
    ///
    /// # Errors
    /// An option has no sensible value.
    pub fn from_config(config: Config) -> Result<Self, ConfigError> {
        let text = |option: &str, fallback: &str| config.get_or(SECTION, option, fallback);
        let list = |option: &str, fallback: &[&str]| config.string_list(SECTION, option, fallback);
        let optional_path = |option: &str| {
            config.place(SECTION, option).filter(|path| !path.is_empty()).map(|path| work_dir().join(path))
        };
        let agent_mtls = match config.boolean(SECTION, "enable_agent_mtls", true)? {
            true => AgentMtls::Enabled,
            false => AgentMtls::Disabled,
        };
        let growth = match config.boolean(SECTION, "exponential_backoff", true)? {
            true => Growth::Exponential,
            false => Growth::Constant,
        };
        let requirement = match config.boolean(SECTION, "require_ek_cert", true)? {
            true => EkCertificateRequirement::Required,
            false => EkCertificateRequirement::NotRequired,
        };
        let timeout = config.float(SECTION, "request_timeout", 60.0)?;
        Ok(Self {
            verifier: Address::new(text("verifier_ip", "127.0.0.1"), text("verifier_port", "8881")),
            registrar: Address::new(text("registrar_ip", "127.0.0.1"), text("registrar_port", "8891")),
            agent_mtls,
            request_timeout: Duration::try_from_secs_f64(timeout).unwrap_or(Duration::from_secs(60)),
            retry: RetryPolicy {
                interval_seconds: config.float(SECTION, "retry_interval", 2.0)?,
                growth,
                max_failures: u32::try_from(config.int(SECTION, "max_retries", 5)?).unwrap_or(0),
            },
            max_payload_size: usize::try_from(config.int(SECTION, "max_payload_size", 1_048_576)?).unwrap_or(0),
            accepted: AcceptedAlgorithms {
                hash: list("accept_tpm_hash_algs", &["sha512", "sha384", "sha256"])?,
                encryption: list("accept_tpm_encryption_algs", &["ecc", "rsa"])?,
                signing: list("accept_tpm_signing_algs", &["ecschnorr", "rsassa"])?,
            },
            endorsement: EndorsementSettings {
                requirement,
                check_script: optional_path("ek_check_script"),
                store: optional_path("tpm_cert_store").unwrap_or_else(|| "/var/lib/keylime/tpm_cert_store".into()),
                work_dir: work_dir(),
            },
            mb_refstate: config.get(SECTION, "mb_refstate").filter(|path| !path.is_empty()),
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, env: &[(&str, &str)]) -> Settings {
        Settings::from_config(Config::from_parts(Component::Tenant, text, env).unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_template() {
        let settings = settings("[tenant]\n", &[]);
        assert_eq!(settings.verifier.to_string(), "127.0.0.1:8881");
        assert_eq!(settings.registrar.to_string(), "127.0.0.1:8891");
        assert_eq!(settings.agent_mtls, AgentMtls::Enabled);
        assert_eq!(settings.endorsement.requirement, EkCertificateRequirement::Required);
        assert_eq!(settings.accepted.signing, ["ecschnorr", "rsassa"]);
        assert_eq!((settings.max_payload_size, settings.retry.max_failures), (1_048_576, 5));
    }

    #[test]
    fn each_option_is_taken_from_file_or_environment() {
        let text = "[tenant]\nverifier_ip = ::1\nverifier_port = 1\nregistrar_ip = r\nregistrar_port = 2\n\
                    enable_agent_mtls = False\nrequest_timeout = 1.5\nretry_interval = 0.25\nmax_retries = 2\n\
                    exponential_backoff = False\nmax_payload_size = 10\naccept_tpm_hash_algs = ['sha1']\n\
                    accept_tpm_encryption_algs = ['ecc']\naccept_tpm_signing_algs = ['ecdsa']\n\
                    require_ek_cert = False\nek_check_script = /opt/check\nmb_refstate = /opt/mb.json\n";
        let settings = settings(text, &[("KEYLIME_TENANT_TPM_CERT_STORE", "/store")]);
        assert_eq!((settings.verifier.to_string(), settings.registrar.to_string()), ("::1:1".into(), "r:2".into()));
        assert_eq!(settings.agent_mtls, AgentMtls::Disabled);
        assert_eq!(settings.request_timeout, Duration::from_millis(1500));
        assert_eq!(settings.retry, RetryPolicy { interval_seconds: 0.25, growth: Growth::Constant, max_failures: 2 });
        assert_eq!(settings.max_payload_size, 10);
        assert_eq!(settings.accepted.hash, ["sha1"]);
        assert_eq!(
            (settings.accepted.encryption, settings.accepted.signing),
            (vec!["ecc".into()], vec!["ecdsa".into()])
        );
        assert_eq!(settings.endorsement.requirement, EkCertificateRequirement::NotRequired);
        assert_eq!(settings.endorsement.check_script, Some("/opt/check".into()));
        assert_eq!(settings.endorsement.store, PathBuf::from("/store"));
        assert_eq!(settings.mb_refstate.as_deref(), Some("/opt/mb.json"));
    }
}
