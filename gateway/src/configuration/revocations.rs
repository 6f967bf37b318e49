//! `[revocations]` of the verifier (`config.md` §3).

use super::{ConfigurationError, TrustedAuthorities};
use keylime_settings::{Config, expanded};
use std::path::PathBuf;

const SECTION: &str = "revocations";
/// The notifiers that exist.
const NOTIFIERS: [&str; 4] = ["agent", "amqp", "webhook", "zeromq"];

/// How revocations are published.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationConfiguration {
    /// `enabled_revocation_notifications`, without unknown names.
    pub notifiers: Vec<&'static str>,
    /// `zmq_ip`.
    pub zmq_ip: String,
    /// `zmq_port`.
    pub zmq_port: u16,
    /// `webhook_url`.
    pub webhook_url: String,
    /// `amqp_url`, an option of ours.
    pub amqp_url: String,
    /// How TLS is spoken to the broker, options of ours.
    pub amqp_tls: AmqpTlsConfiguration,
}

/// The options of a broker behind `amqps://`; files are relative to `tls_dir`.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpTlsConfiguration {
    /// `amqp_trusted_server_ca`: who may have signed the broker's certificate; by default those of `trusted_server_ca`.
    pub trusted_server_ca: TrustedAuthorities,
    /// `amqp_client_cert`.
    pub client_certificate: ClientCertificate,
    /// `amqp_client_key_password`.
    pub client_key_password: Option<String>,
}

/// Which certificate the broker is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None: both options are empty.
    None,
    /// `default`: the one that agents are shown.
    OfVerifier,
    /// One of its own.
    Files {
        /// `amqp_client_cert`.
        certificate: PathBuf,
        /// `amqp_client_key`.
        key: PathBuf,
    },
}

impl std::fmt::Debug for RevocationConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs hold passwords.
        f.debug_struct("RevocationConfiguration").field("notifiers", &self.notifiers).finish_non_exhaustive()
    }
}

impl RevocationConfiguration {
    pub(super) fn read(config: &Config) -> Result<Self, ConfigurationError> {
        let mut notifiers = Vec::new();
        for name in config.string_list(SECTION, "enabled_revocation_notifications", &["agent"])? {
            match NOTIFIERS.iter().find(|known| **known == name) {
                Some(known) if !notifiers.contains(known) => notifiers.push(*known),
                Some(_) => {}
                None => tracing::warn!(
                    target: "keylime.verifier",
                    notifier = name,
                    "unknown name in enabled_revocation_notifications is ignored"
                ),
            }
        }
        let revocations = Self {
            notifiers,
            zmq_ip: config.get_or(SECTION, "zmq_ip", "127.0.0.1"),
            zmq_port: u16::try_from(config.int(SECTION, "zmq_port", 8992)?)
                .map_err(|_| ConfigurationError::value("zmq_port", "is no port number"))?,
            webhook_url: config.get_or(SECTION, "webhook_url", ""),
            amqp_url: config.get_or(SECTION, "amqp_url", ""),
            amqp_tls: AmqpTlsConfiguration {
                trusted_server_ca: broker_authorities(config)?,
                client_certificate: client_certificate(config)?,
                client_key_password: config
                    .get(SECTION, "amqp_client_key_password")
                    .filter(|password| !password.is_empty()),
            },
        };
        for (notifier, option, url) in
            [("webhook", "webhook_url", &revocations.webhook_url), ("amqp", "amqp_url", &revocations.amqp_url)]
        {
            if revocations.notifiers.contains(&notifier) && url.is_empty() {
                return Err(ConfigurationError::value(option, format!("is required by the notifier '{notifier}'")));
            }
        }
        Ok(revocations)
    }
}

/// Nobody is trusted unseen: a notice names the machines that cannot be relied on.
fn broker_authorities(config: &Config) -> Result<TrustedAuthorities, ConfigurationError> {
    const OPTION: &str = "amqp_trusted_server_ca";
    match config.place(SECTION, OPTION).as_deref().unwrap_or("default") {
        "" | "default" => Ok(TrustedAuthorities::Default),
        "all" => Err(ConfigurationError::value(OPTION, "must be 'default' or a list of files")),
        _ => {
            let files = config.string_list(SECTION, OPTION, &[])?;
            if files.is_empty() {
                return Err(ConfigurationError::value(OPTION, "the list of files is empty"));
            }
            Ok(TrustedAuthorities::Files(files.iter().map(|file| expanded(file).into()).collect()))
        }
    }
}

fn client_certificate(config: &Config) -> Result<ClientCertificate, ConfigurationError> {
    let file = |option| config.place(SECTION, option).unwrap_or_default();
    let (certificate, key) = (file("amqp_client_cert"), file("amqp_client_key"));
    match (certificate.as_str(), key.as_str()) {
        ("", "") => Ok(ClientCertificate::None),
        ("default", "" | "default") => Ok(ClientCertificate::OfVerifier),
        ("", _) => Err(ConfigurationError::value("amqp_client_cert", "is required by amqp_client_key")),
        ("default", _) | (_, "" | "default") => {
            Err(ConfigurationError::value("amqp_client_key", "must be the file with the key of amqp_client_cert"))
        }
        _ => Ok(ClientCertificate::Files { certificate: certificate.into(), key: key.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_settings::Component;

    fn read(options: &str) -> Result<RevocationConfiguration, String> {
        let config = Config::from_parts(Component::Verifier, &format!("[revocations]\n{options}"), &[]).unwrap();
        RevocationConfiguration::read(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_broker_is_shown_no_certificate_unless_one_is_named() {
        let shown = |options: &str| read(options).map(|read| read.amqp_tls.client_certificate);
        assert_eq!(shown(""), Ok(ClientCertificate::None));
        assert_eq!(shown("amqp_client_cert = default"), Ok(ClientCertificate::OfVerifier));
        let files = ClientCertificate::Files { certificate: "c.crt".into(), key: "/k.pem".into() };
        assert_eq!(shown("amqp_client_cert = c.crt\namqp_client_key = /k.pem"), Ok(files));
    }

    #[test]
    fn half_a_certificate_and_a_broker_nobody_vouches_for_are_refused() {
        for (options, named) in [
            ("amqp_client_cert = c.crt", "amqp_client_key"),
            ("amqp_client_key = k.pem", "amqp_client_cert"),
            ("amqp_client_cert = c.crt\namqp_client_key = default", "amqp_client_key"),
            ("amqp_trusted_server_ca = all", "amqp_trusted_server_ca"),
            ("amqp_trusted_server_ca = []", "amqp_trusted_server_ca"),
        ] {
            let refused = read(options).err().unwrap_or_default();
            assert!(refused.contains(named), "{options}: {refused}");
        }
    }
}
