//! The options of the push agent (`config.md` §8, seed 2.4.4), beside those both agents share.

use std::path::PathBuf;
use std::time::Duration;

use crate::api_version::{ApiVersion, enabled_versions};
use crate::configuration::layers::Layers;
use crate::configuration::settings::{file, list};
use crate::configuration::{AgentSettings, ConfigurationError};

const DEFAULT_VERIFIER_URL: &str = "https://localhost:8881";

/// Everything only the push agent is told.
#[derive(Debug, Clone)]
pub struct PushSettings {
    /// The options both agents share.
    pub agent: AgentSettings,
    /// Where the verifier is.
    pub verifier_url: String,
    /// Authority of the verifier's certificate.
    pub verifier_ca: PathBuf,
    /// What of the verifier's certificate is checked.
    pub verifier_trust: VerifierTrust,
    /// Wait between attestations where the verifier asks for none, and after a refusal.
    pub interval: Duration,
    /// Where the registrar listens with TLS, if it shall be spoken to so.
    pub registrar_tls: Option<RegistrarTls>,
    /// API versions registration is tried with, ascending.
    pub registrar_api_versions: Vec<ApiVersion>,
    /// What the attestation key is called towards the verifier.
    pub key_identifier: String,
    /// Version of the firmware log's format, as announced.
    pub boot_log_version: String,
    /// The kernel's process directory, where boot time and boot id are read.
    pub proc_path: PathBuf,
}

/// TLS towards the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarTls {
    /// Its port.
    pub port: u16,
    /// Authority of its certificate.
    pub ca: PathBuf,
}

/// What of the verifier's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifierTrust {
    /// Chain, dates, purpose and host name.
    Full,
    /// Chain, dates and purpose (`tls_accept_invalid_hostnames`).
    AnyHostName,
    /// Nothing (`tls_accept_invalid_certs`, `--insecure`).
    Nothing,
}

impl PushSettings {
    /// Checks and types the options.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigurationError> {
        let agent = AgentSettings::read(layers)?;
        let authority = |option| file(layers, option, &agent.keylime_dir, "cv_ca/cacert.crt");
        let verifier_trust = if layers.boolean("tls_accept_invalid_certs", false)? {
            VerifierTrust::Nothing
        } else if layers.boolean("tls_accept_invalid_hostnames", false)? {
            VerifierTrust::AnyHostName
        } else {
            VerifierTrust::Full
        };
        let tls =
            RegistrarTls { port: layers.number("registrar_tls_port", 8891)?, ca: authority("registrar_tls_ca_cert") };
        // An empty path means no authority, and then the registrar is spoken to without TLS.
        let has_authority = !layers.text("registrar_tls_ca_cert", "default").is_empty();
        let use_tls = layers.boolean("registrar_tls_enabled", false)? && has_authority;
        let versions = list(layers, "registrar_api_versions", "default")?;
        Ok(Self {
            // Keylime's configuration generator writes empty texts for options it does not know.
            verifier_url: or_default(layers.text("verifier_url", DEFAULT_VERIFIER_URL), DEFAULT_VERIFIER_URL),
            verifier_ca: authority("verifier_tls_ca_cert"),
            verifier_trust,
            interval: Duration::from_secs(layers.number("attestation_interval_seconds", 60)?),
            registrar_tls: use_tls.then_some(tls),
            registrar_api_versions: enabled_versions(&versions, &ApiVersion::PULL),
            key_identifier: or_default(layers.text("certification_keys_server_identifier", "ak"), "ak"),
            boot_log_version: or_default(layers.text("uefi_logs_evidence_version", "2.1"), "2.1"),
            proc_path: PathBuf::from(layers.text("proc_path", "/proc")),
            agent,
        })
    }
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(text: &str) -> Result<PushSettings, ConfigurationError> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("test"), &format!("[agent]\nkeylime_dir = \"/tmp\"\n{text}"))?;
        PushSettings::from_layers(&layers)
    }

    #[test]
    fn defaults_are_keylimes() {
        let defaults = settings("").unwrap();
        assert_eq!(defaults.verifier_url, "https://localhost:8881");
        assert_eq!(defaults.verifier_ca, Path::new("/tmp/cv_ca/cacert.crt"));
        assert_eq!((defaults.verifier_trust, defaults.interval.as_secs()), (VerifierTrust::Full, 60));
        assert_eq!((defaults.registrar_tls, defaults.registrar_api_versions.len()), (None, 6));
        assert_eq!((defaults.key_identifier.as_str(), defaults.boot_log_version.as_str()), ("ak", "2.1"));
    }

    #[test]
    fn what_only_concerns_the_pull_agent_is_not_judged() {
        assert!(settings("enable_agent_mtls = false\n").is_ok());
        assert!(settings("enable_revocation_notifications = true\nrevocation_actions_dir = \"/nowhere\"\n").is_ok());
    }

    #[test]
    fn tls_to_the_registrar_needs_switch_and_authority() {
        let tls = settings("registrar_tls_enabled = true\nregistrar_tls_port = 1\n").unwrap().registrar_tls;
        assert_eq!(tls, Some(RegistrarTls { port: 1, ca: "/tmp/cv_ca/cacert.crt".into() }));
        assert_eq!(
            settings("registrar_tls_enabled = true\nregistrar_tls_ca_cert = \"\"\n").unwrap().registrar_tls,
            None
        );
    }

    #[test]
    fn trust_is_lowered_only_when_asked() {
        let trust = |text: &str| settings(text).unwrap().verifier_trust;
        assert_eq!(trust("tls_accept_invalid_hostnames = true\n"), VerifierTrust::AnyHostName);
        assert_eq!(trust("tls_accept_invalid_certs = true\n"), VerifierTrust::Nothing);
        assert_eq!(settings("verifier_url = \"\"\n").unwrap().verifier_url, "https://localhost:8881");
    }
}
