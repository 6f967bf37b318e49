//! The configuration files of one stack, in Keylime's own format: both implementations read the same files.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Ports and options of one stack.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Verifier, HTTPS.
    pub verifier_port: u16,
    /// Registrar, HTTP.
    pub registrar_port: u16,
    /// Registrar, HTTPS.
    pub registrar_tls_port: u16,
    /// Agent, HTTPS.
    pub agent_port: u16,
    /// The agent's id.
    pub agent_id: String,
    /// Seconds between quotes.
    pub quote_interval: f64,
    /// Further options of `[verifier]`; they win over the defaults of the stack.
    pub verifier: Vec<(String, String)>,
    /// Further options of `[registrar]`.
    pub registrar: Vec<(String, String)>,
    /// Options of `[revocations]`.
    pub revocations: Vec<(String, String)>,
    /// Further options of `[tenant]`.
    pub tenant: Vec<(String, String)>,
    /// Further options of the agent's TOML, values as TOML text.
    pub agent: Vec<(String, String)>,
}

fn section(name: &str, defaults: &[(&str, String)], extra: &[(String, String)]) -> String {
    let mut text = format!("[{name}]\n");
    for (option, value) in defaults {
        if !extra.iter().any(|(o, _)| o == option) {
            let _ = writeln!(text, "{option} = {value}");
        }
    }
    for (option, value) in extra {
        let _ = writeln!(text, "{option} = {value}");
    }
    text
}

/// Writes `verifier.conf`, `registrar.conf`, `tenant.conf`, `ca.conf`, `logging.conf` and `agent.conf` into `dir`, readable by
/// their owner only.
///
/// # Errors
/// A file cannot be written.
pub fn write(dir: &Path, settings: &Settings) -> io::Result<()> {
    let store = dir.join("tpm_cert_store").display().to_string();
    let files = [
        ("verifier.conf", verifier(settings)),
        ("registrar.conf", registrar(settings)),
        ("tenant.conf", tenant(settings, &store)),
        ("ca.conf", ca()),
        ("logging.conf", logging()),
        ("agent.conf", agent(dir, settings)),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(())
}

fn verifier(settings: &Settings) -> String {
    let defaults = [
        ("version", "2.6".into()),
        ("uuid", "default".into()),
        ("ip", "127.0.0.1".into()),
        ("port", settings.verifier_port.to_string()),
        ("registrar_ip", "127.0.0.1".into()),
        ("registrar_port", settings.registrar_tls_port.to_string()),
        ("enable_agent_mtls", "True".into()),
        ("tls_dir", "generate".into()),
        ("server_key", "default".into()),
        ("server_key_password", String::new()),
        ("server_cert", "default".into()),
        ("cert_subject_alternative_names", String::new()),
        ("trusted_client_ca", "default".into()),
        ("client_key", "default".into()),
        ("client_key_password", String::new()),
        ("client_cert", "default".into()),
        ("trusted_server_ca", "default".into()),
        ("authorization_provider", "simple".into()),
        ("database_url", "sqlite".into()),
        ("database_pool_sz_ovfl", "5,10".into()),
        ("auto_migrate_db", "True".into()),
        ("max_workers", "1".into()),
        ("exponential_backoff", "True".into()),
        ("retry_interval", "1".into()),
        ("max_retries", "3".into()),
        ("quote_interval", settings.quote_interval.to_string()),
        ("max_upload_size", "104857600".into()),
        ("request_timeout", "10.0".into()),
        ("measured_boot_policy_name", "accept-all".into()),
        ("measured_boot_imports", "[]".into()),
        ("measured_boot_evaluate", "once".into()),
        ("severity_labels", r#"["info", "notice", "warning", "error", "critical", "alert", "emergency"]"#.into()),
        ("severity_policy", r#"[{"event_id": ".*", "severity_label": "emergency"}]"#.into()),
        ("ignore_tomtou_errors", "False".into()),
        ("durable_attestation_import", String::new()),
        ("require_allow_list_signatures", "False".into()),
        ("mode", "pull".into()),
        ("shutdown_drain_timeout", "5".into()),
    ];
    let revocations = [
        ("enabled_revocation_notifications", "[]".to_owned()),
        ("zmq_ip", "127.0.0.1".to_owned()),
        ("zmq_port", "8992".to_owned()),
        ("webhook_url", String::new()),
    ];
    section("verifier", &defaults, &settings.verifier)
        + "\n"
        + &section("revocations", &revocations, &settings.revocations)
}

fn registrar(settings: &Settings) -> String {
    let defaults = [
        ("version", "2.6".into()),
        ("ip", "127.0.0.1".into()),
        ("port", settings.registrar_port.to_string()),
        ("tls_port", settings.registrar_tls_port.to_string()),
        ("tls_dir", "default".into()),
        ("server_key", "default".into()),
        ("server_key_password", String::new()),
        ("server_cert", "default".into()),
        ("cert_subject_alternative_names", String::new()),
        ("trusted_client_ca", "default".into()),
        ("authorization_provider", "simple".into()),
        ("database_url", "sqlite".into()),
        ("database_pool_sz_ovfl", "5,10".into()),
        ("auto_migrate_db", "True".into()),
        ("max_workers", "1".into()),
        ("durable_attestation_import", String::new()),
        ("tpm_identity", "default".into()),
        ("malformed_cert_action", "warn".into()),
    ];
    section("registrar", &defaults, &settings.registrar)
}

fn tenant(settings: &Settings, store: &str) -> String {
    let defaults = [
        ("version", "2.6".into()),
        ("verifier_ip", "127.0.0.1".into()),
        ("verifier_port", settings.verifier_port.to_string()),
        ("registrar_ip", "127.0.0.1".into()),
        ("registrar_port", settings.registrar_tls_port.to_string()),
        ("tls_dir", "default".into()),
        ("enable_agent_mtls", "True".into()),
        ("client_key", "default".into()),
        ("client_key_password", String::new()),
        ("client_cert", "default".into()),
        ("trusted_server_ca", "default".into()),
        ("tpm_cert_store", store.to_owned()),
        ("max_payload_size", "1048576".into()),
        ("accept_tpm_hash_algs", "['sha512', 'sha384', 'sha256']".into()),
        ("accept_tpm_encryption_algs", "['ecc', 'rsa']".into()),
        ("accept_tpm_signing_algs", "['ecschnorr', 'rsassa', 'ecdsa']".into()),
        ("exponential_backoff", "True".into()),
        ("retry_interval", "1".into()),
        ("max_retries", "5".into()),
        ("request_timeout", "30".into()),
        ("require_ek_cert", "True".into()),
        ("ek_check_script", String::new()),
        ("mb_refstate", String::new()),
    ];
    section("tenant", &defaults, &settings.tenant)
}

fn ca() -> String {
    let defaults = [
        ("version", "2.6"),
        ("password", "stack password"),
        ("cert_country", "US"),
        ("cert_ca_name", "Keylime Certificate Authority"),
        ("cert_state", "MA"),
        ("cert_locality", "Lexington"),
        ("cert_organization", "Keylime"),
        ("cert_org_unit", "53"),
        ("cert_ca_lifetime", "3650"),
        ("cert_lifetime", "365"),
        ("cert_bits", "2048"),
        ("cert_crl_dist", "http://localhost:38080/crl"),
    ];
    section("ca", &defaults.map(|(o, v)| (o, v.to_owned())), &[])
}

fn logging() -> String {
    "[logging]\nversion = 2.6\n[loggers]\nkeys = root,keylime\n[handlers]\nkeys = consoleHandler\n[formatters]\nkeys = formatter\n\
     [formatter_formatter]\nformat = %(asctime)s.%(msecs)03d - %(name)s - %(levelname)s - %(message)s\n\
     datefmt = %Y-%m-%d %H:%M:%S\n[logger_root]\nlevel = INFO\nhandlers = consoleHandler\n\
     [handler_consoleHandler]\nclass = StreamHandler\nlevel = INFO\nformatter = formatter\nargs = (sys.stdout,)\n\
     [logger_keylime]\nlevel = INFO\nqualname = keylime\nhandlers =\n"
        .to_owned()
}

fn agent(dir: &Path, settings: &Settings) -> String {
    let quoted = |text: &str| format!("\"{text}\"");
    let path = |name: &str| quoted(&dir.join(name).display().to_string());
    let defaults = [
        ("version", quoted("2.6")),
        ("uuid", quoted(&settings.agent_id)),
        ("ip", quoted("127.0.0.1")),
        ("port", settings.agent_port.to_string()),
        ("contact_ip", quoted("127.0.0.1")),
        ("contact_port", settings.agent_port.to_string()),
        ("registrar_ip", quoted("127.0.0.1")),
        ("registrar_port", settings.registrar_port.to_string()),
        ("enable_agent_mtls", "true".into()),
        ("keylime_dir", path("agent")),
        ("trusted_client_ca", path("cv_ca/cacert.crt")),
        ("ima_ml_path", path("ascii_runtime_measurements")),
        ("measuredboot_ml_path", path("binary_bios_measurements")),
        ("run_as", quoted("")),
        ("tpm_hash_alg", quoted("sha256")),
        ("exponential_backoff_initial_delay", "500".into()),
        ("revocation_actions_dir", path("agent")),
        ("enable_revocation_notifications", "false".into()),
        ("verifier_url", quoted(&format!("https://127.0.0.1:{}", settings.verifier_port))),
        ("verifier_tls_ca_cert", path("cv_ca/cacert.crt")),
        ("attestation_interval_seconds", "2".into()),
        ("exponential_backoff_max_delay", "4000".into()),
        ("proc_path", path("proc")),
    ];
    section("agent", &defaults, &settings.agent)
}
