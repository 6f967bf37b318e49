//! `[revocations]` of the verifier (`config.md` §3).

use super::ConfigurationError;
use keylime_settings::Config;

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
}

impl std::fmt::Debug for RevocationConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs hold passwords.
        f.debug_struct("RevocationConfiguration").field("notifiers", &self.notifiers).finish_non_exhaustive()
    }
}

impl RevocationConfiguration {
    pub(super) fn read(config: &Config) -> Result<Self, ConfigurationError> {
        const SECTION: &str = "revocations";
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
