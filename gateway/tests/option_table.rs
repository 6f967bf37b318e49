//! Every option of verifier.conf and registrar.conf is set, in the file and by its environment variable, and what it does to
//! the configuration that the daemons run with is looked at. An option of the table without an entry here fails the test.

use keylime_gateway::configuration::{
    ConfigurationError, RegistrarConfiguration, TlsDirectory, TrustedAuthorities, VerifierConfiguration,
};
use keylime_settings::{Component, Config};
use std::collections::BTreeSet;
use std::fmt::Debug;

const OPTIONS: &str = include_str!("data/options.txt");

/// What an option does.
enum Effect<C> {
    /// This value of it shows in the configuration as this text.
    Shows(&'static str, fn(&C) -> String, &'static str),
    /// Nothing, whatever its value; for the reason given.
    Nothing(&'static str, &'static str),
    /// This value of it ends the start with a message that names it.
    Refused(&'static str),
}

fn text(value: impl Debug) -> String {
    format!("{value:?}").trim_matches('"').to_owned()
}

type Entry<C> = (&'static str, &'static str, Effect<C>);

/// The options that both servers have.
fn shared<C>(section: &'static str, parts: Shared<C>) -> Vec<Entry<C>> {
    use Effect::{Nothing, Refused, Shows};
    let unsupported = "only durable attestation, which is refused, would use it";
    let mut entries = vec![
        (section, "version", Refused("two")),
        (section, "ip", Shows("192.0.2.1", parts.ip, "192.0.2.1")),
        (section, "tls_dir", Shows("tls", parts.tls_dir, "tls")),
        (section, "server_key", Shows("k.pem", parts.server_key, "Some(\"k.pem\")")),
        (section, "server_cert", Shows("c.pem", parts.server_cert, "Some(\"c.pem\")")),
        (section, "server_key_password", Shows("secret", parts.password, "Some(\"secret\")")),
        (
            section,
            "cert_subject_alternative_names",
            Shows("a.example, b.example", parts.names, "[\"a.example\", \"b.example\"]"),
        ),
        (section, "trusted_client_ca", Shows("['a.crt']", parts.trusted, "[\"a.crt\"]")),
        (section, "authorization_provider", Shows("ldap", parts.provider, "ldap")),
        (section, "database_url", Shows("sqlite:////tmp/x", parts.database_url, "sqlite:////tmp/x")),
        (section, "database_pool_sz_ovfl", Shows("7,3", parts.pool, "PoolSize { size: 7, overflow: 3 }")),
        (section, "auto_migrate_db", Shows("False", parts.migrate, "false")),
        (section, "max_workers", Shows("3", parts.workers, "3")),
        (section, "max_upload_size", Shows("4096", parts.upload, "4096")),
        (section, "shutdown_drain_timeout", Shows("1.5", parts.drain, "1.5s")),
        (section, "metrics_listen", Shows("127.0.0.1:9", parts.metrics, "Some(\"127.0.0.1:9\")")),
        (section, "persistent_store_format", Nothing("pickle", unsupported)),
        (section, "persistent_store_encoding", Nothing("base64", unsupported)),
        (section, "transparency_log_sign_algo", Nothing("sha512", unsupported)),
        (section, "signed_attributes", Nothing("all", unsupported)),
    ];
    for option in [
        "durable_attestation_import",
        "persistent_store_url",
        "transparency_log_url",
        "time_stamp_authority_url",
        "time_stamp_authority_certs_path",
    ] {
        entries.push((section, option, Refused("x")));
    }
    entries
}

/// Where the options that both servers have show.
struct Shared<C> {
    ip: fn(&C) -> String,
    tls_dir: fn(&C) -> String,
    server_key: fn(&C) -> String,
    server_cert: fn(&C) -> String,
    password: fn(&C) -> String,
    names: fn(&C) -> String,
    trusted: fn(&C) -> String,
    provider: fn(&C) -> String,
    database_url: fn(&C) -> String,
    pool: fn(&C) -> String,
    migrate: fn(&C) -> String,
    workers: fn(&C) -> String,
    upload: fn(&C) -> String,
    drain: fn(&C) -> String,
    metrics: fn(&C) -> String,
}

macro_rules! shared_parts {
    ($configuration:ty) => {
        Shared::<$configuration> {
            ip: |c| c.web.ip.clone(),
            tls_dir: |c| directory(&c.tls.directory),
            server_key: |c| text(&c.tls.server_key),
            server_cert: |c| text(&c.tls.server_cert),
            password: |c| text(&c.tls.server_key_password),
            names: |c| text(&c.tls.subject_alternative_names),
            trusted: |c| authorities(&c.tls.trusted_client_ca),
            provider: |c| c.web.authorization_provider.clone(),
            database_url: |c| c.database.url.clone(),
            pool: |c| text(c.database.pool),
            migrate: |c| text(c.database.auto_migrate),
            workers: |c| text(c.web.workers(64)),
            upload: |c| text(c.web.max_upload_size),
            drain: |c| text(c.web.shutdown_drain),
            metrics: |c| text(&c.web.metrics_listen),
        }
    };
}

fn directory(directory: &TlsDirectory) -> String {
    match directory {
        TlsDirectory::Generate => "generate".to_owned(),
        TlsDirectory::Default => "default".to_owned(),
        TlsDirectory::Path(path) => path.display().to_string(),
    }
}

fn authorities(trusted: &TrustedAuthorities) -> String {
    match trusted {
        TrustedAuthorities::Default => "default".to_owned(),
        TrustedAuthorities::All => "all".to_owned(),
        TrustedAuthorities::Files(files) => text(files),
    }
}

fn verifier_entries() -> Vec<Entry<VerifierConfiguration>> {
    use Effect::{Nothing, Refused, Shows};
    let mut entries = shared("verifier", shared_parts!(VerifierConfiguration));
    let of_verifier: Vec<(&str, Effect<VerifierConfiguration>)> = vec![
        ("uuid", Shows("v2", |c| c.uuid.clone(), "v2")),
        ("port", Shows("18881", |c| text(c.web.https_port), "18881")),
        ("registrar_ip", Nothing("192.0.2.1", "the verifier asks no registrar")),
        ("registrar_port", Nothing("1", "the verifier asks no registrar")),
        ("enable_agent_mtls", Shows("False", |c| text(c.enable_agent_mtls), "false")),
        ("client_key", Shows("k.pem", |c| text(&c.client_key), "Some(\"k.pem\")")),
        ("client_cert", Shows("c.pem", |c| text(&c.client_cert), "Some(\"c.pem\")")),
        ("client_key_password", Shows("secret", |c| text(&c.client_key_password), "Some(\"secret\")")),
        ("trusted_server_ca", Shows("all", |c| authorities(&c.trusted_server_ca), "all")),
        ("num_workers", Nothing("9", "the reference ignores it since its servers were unified")),
        ("exponential_backoff", Shows("False", |c| text(c.exponential_backoff), "false")),
        ("retry_interval", Shows("3.5", |c| text(c.retry_interval), "3.5")),
        ("max_retries", Shows("9", |c| text(c.max_retries), "9")),
        ("quote_interval", Shows("7.5", |c| text(c.quote_interval), "7.5")),
        ("request_timeout", Shows("12.5", |c| text(c.request_timeout), "12.5s")),
        ("measured_boot_policy_name", Shows("example", |c| c.measured_boot_policy_name.clone(), "example")),
        ("measured_boot_imports", Shows("['a.b']", |c| text(&c.measured_boot_imports), "[\"a.b\"]")),
        ("measured_boot_evaluate", Shows("always", |c| text(&c.boot_evaluation), "Always")),
        ("severity_labels", Shows("['low', 'emergency']", |c| text(&c.severity_labels), "[\"low\", \"emergency\"]")),
        (
            "severity_policy",
            Shows(
                "[{'event_id': 'ima.*', 'severity_label': 'info'}]",
                |c| text(&c.severity_policy),
                "[(\"ima.*\", \"info\")]",
            ),
        ),
        ("ignore_tomtou_errors", Shows("True", |c| text(c.ignore_tomtou_errors), "true")),
        ("require_allow_list_signatures", Shows("True", |c| text(c.require_allow_list_signatures), "true")),
        ("mode", Shows("push", |c| text(c.mode), "Push")),
        ("challenge_lifetime", Shows("5", |c| text(c.push.challenge_lifetime), "5s")),
        ("verification_timeout", Shows("5", |c| text(c.push.verification_timeout), "5s")),
        ("session_create_rate_limit_per_ip", Shows("5", |c| text(c.push.session_create_rate_limit_per_ip), "5")),
        ("session_create_rate_limit_window_ip", Shows("5", |c| text(c.push.session_create_rate_limit_window_ip), "5s")),
        ("session_create_rate_limit_per_agent", Shows("5", |c| text(c.push.session_create_rate_limit_per_agent), "5")),
        (
            "session_create_rate_limit_window_agent",
            Shows("5", |c| text(c.push.session_create_rate_limit_window_agent), "5s"),
        ),
        ("session_create_rate_limit_global", Shows("5", |c| text(c.push.session_create_rate_limit_global), "5")),
        (
            "session_create_rate_limit_window_global",
            Shows("5", |c| text(c.push.session_create_rate_limit_window_global), "5s"),
        ),
        ("timeout_recovery", Shows("manual", |c| text(c.push.timeout_recovery_manual), "true")),
        ("session_lifetime", Shows("5", |c| text(c.push.session_lifetime), "5s")),
        ("nonce_lifetime", Shows("5", |c| text(c.push.nonce_lifetime), "5s")),
        ("extend_token_on_attestation", Shows("False", |c| text(c.push.extend_token_on_attestation), "false")),
        (
            "auto_recover_attestation_failures",
            Shows("True", |c| text(c.push.auto_recover_attestation_failures), "true"),
        ),
    ];
    entries.extend(of_verifier.into_iter().map(|(option, effect)| ("verifier", option, effect)));
    let of_revocations: Vec<(&str, Effect<VerifierConfiguration>)> = vec![
        ("enabled_revocation_notifications", Shows("['zeromq']", |c| text(&c.revocations.notifiers), "[\"zeromq\"]")),
        ("zmq_ip", Shows("192.0.2.1", |c| c.revocations.zmq_ip.clone(), "192.0.2.1")),
        ("zmq_port", Shows("18992", |c| text(c.revocations.zmq_port), "18992")),
        ("webhook_url", Shows("http://h", |c| c.revocations.webhook_url.clone(), "http://h")),
        ("amqp_url", Shows("amqp://h", |c| c.revocations.amqp_url.clone(), "amqp://h")),
        (
            "amqp_trusted_server_ca",
            Shows("['a.crt']", |c| authorities(&c.revocations.amqp_tls.trusted_server_ca), "[\"a.crt\"]"),
        ),
        ("amqp_client_cert", Shows("default", |c| text(&c.revocations.amqp_tls.client_certificate), "OfVerifier")),
        ("amqp_client_key", Refused("k.pem")),
        (
            "amqp_client_key_password",
            Shows("secret", |c| text(&c.revocations.amqp_tls.client_key_password), "Some(\"secret\")"),
        ),
    ];
    entries.extend(of_revocations.into_iter().map(|(option, effect)| ("revocations", option, effect)));
    entries
}

fn registrar_entries() -> Vec<Entry<RegistrarConfiguration>> {
    use Effect::Shows;
    let mut entries = shared("registrar", shared_parts!(RegistrarConfiguration));
    let of_registrar: Vec<(&str, Effect<RegistrarConfiguration>)> = vec![
        ("port", Shows("18890", |c| text(c.web.http_port), "Some(18890)")),
        ("tls_port", Shows("18891", |c| text(c.web.https_port), "18891")),
        ("tpm_identity", Shows("ek_cert", |c| c.tpm_identity.clone(), "ek_cert")),
        ("malformed_cert_action", Shows("reject", |c| c.malformed_cert_action.clone(), "reject")),
    ];
    entries.extend(of_registrar.into_iter().map(|(option, effect)| ("registrar", option, effect)));
    entries
}

/// Sets each option in both ways and compares.
fn check<C: PartialEq + Debug>(
    component: Component,
    entries: &[Entry<C>],
    read: fn(&Config) -> Result<C, ConfigurationError>,
) {
    let name = component.name();
    let with = |section: &str, option: &str, value: &str| {
        read(&Config::from_parts(component, &format!("[{section}]\n{option} = {value}\n"), &[]).unwrap())
    };
    let default = || with(name, "unknown_option", "x").unwrap();
    for (section, option, effect) in entries {
        let in_section = if *section == name { String::new() } else { format!("{section}_") };
        let variable = format!("KEYLIME_{name}_{in_section}{option}").to_uppercase();
        let by_variable =
            |value: &str| read(&Config::from_parts(component, "", &[(variable.as_str(), value)]).unwrap());
        match effect {
            Effect::Shows(value, observe, expected) => {
                for configuration in [with(section, option, value), by_variable(value)] {
                    let configuration = configuration.unwrap_or_else(|error| panic!("{option}: {error}"));
                    assert_eq!(observe(&configuration), *expected, "{option} = {value}");
                }
                assert_ne!(observe(&default()), *expected, "{option}: the default looks the same");
            }
            Effect::Nothing(value, reason) => {
                for configuration in [with(section, option, value), by_variable(value)] {
                    assert!(configuration.unwrap() == default(), "{option} does something, but should not: {reason}");
                }
            }
            Effect::Refused(value) => {
                for configuration in [with(section, option, value), by_variable(value)] {
                    let error = configuration.err().unwrap_or_else(|| panic!("{option} = {value} is accepted"));
                    assert!(error.to_string().contains(option), "{option}: {error}");
                }
            }
        }
    }
}

fn options_of(sections: &[&str]) -> BTreeSet<(String, String)> {
    let lines = OPTIONS.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
    words
        .map(|words| (words[0].to_owned(), words[1].to_owned()))
        .filter(|(s, _)| sections.contains(&s.as_str()))
        .collect()
}

fn named<C>(entries: &[Entry<C>]) -> BTreeSet<(String, String)> {
    entries.iter().map(|(section, option, _)| ((*section).to_owned(), (*option).to_owned())).collect()
}

/// The defaults of the table, as a file.
fn file_of_defaults(section: &str) -> String {
    let mut file = format!("[{section}]\n");
    for line in OPTIONS.lines() {
        let mut words = line.splitn(3, ' ');
        if words.next() == Some(section) {
            file.push_str(&format!("{} = {}\n", words.next().unwrap(), words.next().unwrap_or_default()));
        }
    }
    file
}

#[test]
fn every_option_of_the_verifier_has_its_effect() {
    let entries = verifier_entries();
    assert_eq!(named(&entries), options_of(&["verifier", "revocations"]));
    check(Component::Verifier, &entries, VerifierConfiguration::read);
}

#[test]
fn every_option_of_the_registrar_has_its_effect() {
    let entries = registrar_entries();
    assert_eq!(named(&entries), options_of(&["registrar"]));
    check(Component::Registrar, &entries, RegistrarConfiguration::read);
}

#[test]
fn a_file_with_all_defaults_is_an_empty_file() {
    let verifier = file_of_defaults("verifier") + &file_of_defaults("revocations");
    let read = |text: &str| VerifierConfiguration::read(&Config::from_parts(Component::Verifier, text, &[]).unwrap());
    assert!(read(&verifier).unwrap() == read("").unwrap());
    let read = |text: &str| RegistrarConfiguration::read(&Config::from_parts(Component::Registrar, text, &[]).unwrap());
    assert!(read(&file_of_defaults("registrar")).unwrap() == read("").unwrap());
}
