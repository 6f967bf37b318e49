//! `verifier.conf` (`config.md` §3).

use super::shared::{check_version, file, objects, password, refuse_durable_attestation, seconds, trusted};
use super::{
    ConfigurationError, DatabaseConfiguration, RevocationConfiguration, TlsConfiguration, TrustedAuthorities,
    WebConfiguration,
};
use keylime_engine::measured_boot::BootEvaluation;
use keylime_settings::Config;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const SECTION: &str = "verifier";
const DEFAULT_MAX_RETRIES: u32 = 5;

/// How agents are attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The verifier asks.
    Pull,
    /// The agent sends.
    Push,
    /// Each agent as it was enrolled.
    Both,
}

/// The verifier's options.
#[derive(Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the options of config.md §3")]
pub struct VerifierConfiguration {
    pub web: WebConfiguration,
    pub tls: TlsConfiguration,
    pub database: DatabaseConfiguration,
    pub revocations: RevocationConfiguration,
    pub uuid: String,
    pub mode: Mode,
    pub enable_agent_mtls: bool,
    pub client_key: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key_password: Option<String>,
    pub trusted_server_ca: TrustedAuthorities,
    pub exponential_backoff: bool,
    /// Seconds.
    pub retry_interval: f64,
    pub max_retries: u32,
    /// Seconds.
    pub quote_interval: f64,
    pub request_timeout: Duration,
    pub measured_boot_policy_name: String,
    pub measured_boot_imports: Vec<String>,
    /// `measured_boot_evaluate`.
    pub boot_evaluation: BootEvaluation,
    pub severity_labels: Vec<String>,
    /// (pattern of event ids, label), the first match wins.
    pub severity_policy: Vec<(String, String)>,
    pub ignore_tomtou_errors: bool,
    pub require_allow_list_signatures: bool,
    pub push: PushConfiguration,
}

/// Options of push attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the options of config.md §3")]
pub struct PushConfiguration {
    pub challenge_lifetime: Duration,
    /// Zero means none.
    pub verification_timeout: Duration,
    pub session_create_rate_limit_per_ip: u32,
    pub session_create_rate_limit_window_ip: Duration,
    pub session_create_rate_limit_per_agent: u32,
    pub session_create_rate_limit_window_agent: Duration,
    /// Sessions of enrolled agents beyond the limit of their address; our own option.
    pub session_create_rate_limit_global: u32,
    /// Our own option.
    pub session_create_rate_limit_window_global: Duration,
    pub session_lifetime: Duration,
    pub nonce_lifetime: Duration,
    pub extend_token_on_attestation: bool,
    pub auto_recover_attestation_failures: bool,
    /// `manual`: an agent that was silent has to be reactivated.
    pub timeout_recovery_manual: bool,
}

impl std::fmt::Debug for VerifierConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifierConfiguration")
            .field("uuid", &self.uuid)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl VerifierConfiguration {
    /// Reads `[verifier]` and `[revocations]`.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn read(config: &Config) -> Result<Self, ConfigurationError> {
        check_version(config)?;
        refuse_durable_attestation(config)?;
        let (severity_labels, severity_policy) = severities(config)?;
        Ok(Self {
            web: WebConfiguration::read(config, ("port", 8881), None)?,
            tls: TlsConfiguration::read(config, "generate")?,
            database: DatabaseConfiguration::read(config)?,
            revocations: RevocationConfiguration::read(config)?,
            uuid: config.get_or(SECTION, "uuid", "default"),
            mode: mode(&config.get_or(SECTION, "mode", "pull"))?,
            enable_agent_mtls: config.boolean(SECTION, "enable_agent_mtls", true)?,
            client_key: file(config, "client_key")?,
            client_cert: file(config, "client_cert")?,
            client_key_password: password(config, "client_key_password"),
            trusted_server_ca: trusted(config, "trusted_server_ca")?,
            exponential_backoff: config.boolean(SECTION, "exponential_backoff", true)?,
            retry_interval: interval(config, "retry_interval", 2.0)?,
            max_retries: max_retries(config)?,
            quote_interval: interval(config, "quote_interval", 2.0)?,
            request_timeout: seconds("request_timeout", config.float(SECTION, "request_timeout", 60.0)?)?,
            measured_boot_policy_name: config.get_or(SECTION, "measured_boot_policy_name", "accept-all"),
            measured_boot_imports: config.string_list(SECTION, "measured_boot_imports", &[])?,
            boot_evaluation: boot_evaluation(&config.get_or(SECTION, "measured_boot_evaluate", "once"))?,
            severity_labels,
            severity_policy,
            // The name is taken at its word, which is the reverse of what the reference's code does with it. Without the
            // option these errors count, here as there.
            ignore_tomtou_errors: config.boolean(SECTION, "ignore_tomtou_errors", false)?,
            require_allow_list_signatures: config.boolean(SECTION, "require_allow_list_signatures", false)?,
            push: push(config)?,
        })
    }
}

fn mode(text: &str) -> Result<Mode, ConfigurationError> {
    match text {
        "pull" | "" => Ok(Mode::Pull),
        "push" => Ok(Mode::Push),
        "both" => Ok(Mode::Both),
        other => Err(ConfigurationError::value("mode", format!("'{other}' is none of pull, push and both"))),
    }
}

/// The reference starts with another value and then fails every agent that has a boot policy.
fn boot_evaluation(text: &str) -> Result<BootEvaluation, ConfigurationError> {
    match BootEvaluation::from_option(if text.is_empty() { "once" } else { text }) {
        BootEvaluation::Invalid(other) => {
            Err(ConfigurationError::value("measured_boot_evaluate", format!("'{other}' is neither once nor always")))
        }
        valid @ (BootEvaluation::Once | BootEvaluation::Always) => Ok(valid),
    }
}

fn interval(config: &Config, option: &'static str, fallback: f64) -> Result<f64, ConfigurationError> {
    let value = config.float(SECTION, option, fallback)?;
    seconds(option, value)?;
    Ok(value)
}

fn max_retries(config: &Config) -> Result<u32, ConfigurationError> {
    let value = config.int(SECTION, "max_retries", DEFAULT_MAX_RETRIES.into())?;
    if value <= 0 {
        tracing::info!(
            target: "keylime.verifier",
            "Invalid value {value} in 'max_retries' for number of retries, using default {DEFAULT_MAX_RETRIES}"
        );
        return Ok(DEFAULT_MAX_RETRIES);
    }
    u32::try_from(value).map_err(|_| ConfigurationError::value("max_retries", "is too large"))
}

type Severities = (Vec<String>, Vec<(String, String)>);

fn severities(config: &Config) -> Result<Severities, ConfigurationError> {
    let labels = config.string_list(
        SECTION,
        "severity_labels",
        &["info", "notice", "warning", "error", "critical", "alert", "emergency"],
    )?;
    let Some(rules) = objects(config, "severity_policy")? else {
        return Ok((labels, vec![(".*".to_owned(), "emergency".to_owned())]));
    };
    let mut policy = Vec::with_capacity(rules.len());
    for rule in &rules {
        let text = |member: &str| rule.get(member).and_then(Value::as_str).map(str::to_owned);
        let (Some(event_id), Some(label)) = (text("event_id"), text("severity_label")) else {
            let problem = "every entry needs the texts 'event_id' and 'severity_label'";
            return Err(ConfigurationError::value("severity_policy", problem));
        };
        if !labels.contains(&label) {
            return Err(ConfigurationError::value("severity_policy", format!("'{label}' is not in severity_labels")));
        }
        policy.push((event_id, label));
    }
    Ok((labels, policy))
}

fn push(config: &Config) -> Result<PushConfiguration, ConfigurationError> {
    let duration = |option: &'static str, fallback: i64| -> Result<Duration, ConfigurationError> {
        let value = config.int(SECTION, option, fallback)?;
        let value = u64::try_from(value).map_err(|_| ConfigurationError::value(option, "must not be negative"))?;
        Ok(Duration::from_secs(value))
    };
    let count = |option: &'static str, fallback: i64| -> Result<u32, ConfigurationError> {
        let value = config.int(SECTION, option, fallback)?;
        u32::try_from(value).map_err(|_| ConfigurationError::value(option, "must be a number that is not negative"))
    };
    Ok(PushConfiguration {
        challenge_lifetime: duration("challenge_lifetime", 1800)?,
        verification_timeout: duration("verification_timeout", 0)?,
        session_create_rate_limit_per_ip: count("session_create_rate_limit_per_ip", 50)?,
        session_create_rate_limit_window_ip: duration("session_create_rate_limit_window_ip", 60)?,
        session_create_rate_limit_per_agent: count("session_create_rate_limit_per_agent", 15)?,
        session_create_rate_limit_window_agent: duration("session_create_rate_limit_window_agent", 60)?,
        session_create_rate_limit_global: count("session_create_rate_limit_global", 10_000)?,
        session_create_rate_limit_window_global: duration("session_create_rate_limit_window_global", 60)?,
        session_lifetime: duration("session_lifetime", 180)?,
        nonce_lifetime: duration("nonce_lifetime", 60)?,
        extend_token_on_attestation: config.boolean(SECTION, "extend_token_on_attestation", true)?,
        auto_recover_attestation_failures: config.boolean(SECTION, "auto_recover_attestation_failures", false)?,
        timeout_recovery_manual: match config.get_or(SECTION, "timeout_recovery", "automatic").as_str() {
            "automatic" | "" => false,
            "manual" => true,
            other => {
                let problem = format!("'{other}' is neither automatic nor manual");
                return Err(ConfigurationError::value("timeout_recovery", problem));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_settings::Component;

    fn read(text: &str) -> Result<VerifierConfiguration, ConfigurationError> {
        VerifierConfiguration::read(&Config::from_parts(Component::Verifier, text, &[]).unwrap())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let configuration = read("").unwrap();
        assert_eq!((configuration.web.ip.as_str(), configuration.web.https_port), ("127.0.0.1", 8881));
        assert_eq!((configuration.max_retries, configuration.quote_interval), (5, 2.0));
        assert_eq!(configuration.severity_policy, [(".*".to_owned(), "emergency".to_owned())]);
        assert_eq!(configuration.revocations.notifiers, ["agent"]);
        assert!(!configuration.ignore_tomtou_errors);
    }

    #[test]
    fn every_bad_value_names_its_option() {
        for (line, option) in [
            ("ip =", "ip"),
            ("port = 70000", "port"),
            ("tls_dir =", "tls_dir"),
            ("server_key =", "server_key"),
            ("trusted_client_ca = []", "trusted_client_ca"),
            ("trusted_server_ca =", "trusted_server_ca"),
            ("database_pool_sz_ovfl = five", "database_pool_sz_ovfl"),
            ("retry_interval = -1", "retry_interval"),
            ("quote_interval = soon", "quote_interval"),
            ("request_timeout = -2", "request_timeout"),
            ("measured_boot_evaluate = never", "measured_boot_evaluate"),
            ("severity_policy = [{\"event_id\": \".*\", \"severity_label\": \"odd\"}]", "severity_policy"),
            ("mode = neither", "mode"),
            ("timeout_recovery = never", "timeout_recovery"),
            ("version = two", "version"),
            ("exponential_backoff = maybe", "exponential_backoff"),
            ("challenge_lifetime = -1", "challenge_lifetime"),
            ("durable_attestation_import = keylime.da", "durable_attestation_import"),
            ("persistent_store_url = redis://h", "persistent_store_url"),
            ("max_upload_size = -1", "max_upload_size"),
            ("shutdown_drain_timeout = -1", "shutdown_drain_timeout"),
        ] {
            let version = if line.starts_with("version") { "" } else { "version = 2.6\n" };
            let error = read(&format!("[verifier]\n{version}{line}\n")).expect_err(line).to_string();
            assert!(error.contains(option), "{line}: {error}");
        }
    }

    #[test]
    fn notifiers_are_checked() {
        let error = read("[revocations]\nenabled_revocation_notifications = ['amqp']\n").unwrap_err().to_string();
        assert!(error.contains("amqp_url"), "{error}");
        let text = "[revocations]\nenabled_revocation_notifications = ['webhook', 'pigeon']\nwebhook_url = http://h\n";
        assert_eq!(read(text).unwrap().revocations.notifiers, ["webhook"]);
    }

    #[test]
    fn unparsable_web_numbers_fall_back() {
        let configuration = read("[verifier]\nmax_workers = many\nmax_retries = 0\n").unwrap();
        assert_eq!((configuration.web.max_workers, configuration.max_retries), (16, 5));
        assert_eq!((configuration.web.workers(4), configuration.web.workers(64)), (4, 16));
    }
}
