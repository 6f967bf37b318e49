//! The programs that are measured: verifier, registrar and broker in a directory of their own.

use super::FleetError;
use super::options::{Options, Scenario};
use super::rest_client::Target;
use keylime_harness::child::Guarded;
use keylime_harness::configuration::{self, Settings};
use keylime_harness::rabbitmq::RabbitMq;
use keylime_harness::stack::Implementation;
use keylime_harness::{binaries, peer, ports};
use keylime_pki::tls::{self, Identity, ServerTrust};
use rustls_pki_types::CertificateDer;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a verifier may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(120);

/// Running servers; dropping them ends them and removes their directory.
#[derive(Debug)]
pub struct Servers {
    whose: Implementation,
    verifier: Guarded,
    registrar: Option<Guarded>,
    broker: Option<RabbitMq>,
    settings: Settings,
    dir: TempDir,
}

impl Servers {
    /// Starts what the scenario needs, on SQLite.
    ///
    /// # Errors
    /// A part is missing or does not come up.
    pub fn start(whose: Implementation, options: &Options) -> Result<Self, FleetError> {
        let broker = match (options.scenario, whose) {
            (Scenario::Revocations, Implementation::Ours) => Some(RabbitMq::start()?),
            (Scenario::Revocations, Implementation::Peer) => {
                return Err(FleetError::Setup("the reference implementation does not speak AMQP".to_owned()));
            }
            (
                Scenario::Quotes
                | Scenario::Enrol
                | Scenario::Register
                | Scenario::Memory
                | Scenario::Push
                | Scenario::PushMemory
                | Scenario::PushRestart,
                _,
            ) => None,
        };
        if whose == Implementation::Peer {
            peer::ensure()?;
        }
        let dir = TempDir::with_prefix("keylime-fleet-")?;
        let settings = settings(options, broker.as_ref());
        configuration::write(dir.path(), &settings)?;
        let mut verifier = spawn(dir.path(), whose, "keylime_verifier")?;
        verifier.wait_for_port(settings.verifier_port, START_LIMIT)?;
        let registrar = match options.scenario {
            Scenario::Register => {
                let mut registrar = spawn(dir.path(), whose, "keylime_registrar")?;
                registrar.wait_for_port(settings.registrar_port, START_LIMIT)?;
                Some(registrar)
            }
            Scenario::Quotes
            | Scenario::Enrol
            | Scenario::Memory
            | Scenario::Revocations
            | Scenario::Push
            | Scenario::PushMemory
            | Scenario::PushRestart => None,
        };
        Ok(Self { whose, verifier, registrar, broker, settings, dir })
    }

    /// Ends the verifier and starts it again; answers when it was told to start.
    ///
    /// # Errors
    /// It does not end, or cannot be started.
    pub fn restart_verifier(&mut self) -> Result<Instant, FleetError> {
        self.verifier.terminate(STOP_LIMIT)?;
        let start = Instant::now();
        self.verifier = spawn(self.dir.path(), self.whose, "keylime_verifier")?;
        self.verifier.wait_for_port(self.settings.verifier_port, START_LIMIT)?;
        Ok(start)
    }

    /// The verifier, spoken to as an agent that has no certificate.
    ///
    /// # Errors
    /// The verifier's files cannot be used.
    pub fn verifier_for_agents(&self) -> Result<Target, FleetError> {
        let config = tls::client(None, ServerTrust::Authorities(self.authority()?))?;
        Ok(Target { address: local(self.settings.verifier_port), tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// A program that uses these servers, such as the tenant.
    #[must_use]
    pub fn command(&self, program: PathBuf) -> Command {
        configured(self.dir.path(), program)
    }

    /// The verifier's process id.
    #[must_use]
    pub fn verifier_pid(&self) -> u32 {
        self.verifier.pid()
    }

    /// The registrar's process id.
    #[must_use]
    pub fn registrar_pid(&self) -> Option<u32> {
        self.registrar.as_ref().map(Guarded::pid)
    }

    /// Where the broker listens, with credentials.
    #[must_use]
    pub fn broker_url(&self) -> Option<String> {
        self.broker.as_ref().map(RabbitMq::url)
    }

    /// The end of the verifier's log, for messages.
    #[must_use]
    pub fn verifier_log_end(&self) -> String {
        let output = self.verifier.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// The verifier, spoken to as an administrator.
    ///
    /// # Errors
    /// The verifier's files cannot be used.
    pub fn verifier(&self) -> Result<Target, FleetError> {
        let ca = self.dir.path().join("cv_ca");
        let identity = tls::load_identity(&ca.join("client-cert.crt"), &ca.join("client-private.pem"), None)?;
        let config = tls::client(Some(identity), ServerTrust::Authorities(self.authority()?))?;
        Ok(Target { address: local(self.settings.verifier_port), tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// The registrar's plain port.
    #[must_use]
    pub fn registrar(&self) -> Target {
        Target { address: local(self.settings.registrar_port), tls: None }
    }

    /// How agents accept connections of this verifier, which has to show its certificate.
    ///
    /// # Errors
    /// The verifier's files cannot be used.
    pub fn agent_acceptor(&self, identity: Identity) -> Result<TlsAcceptor, FleetError> {
        Ok(TlsAcceptor::from(Arc::new(tls::required_client_auth(identity, self.authority()?)?)))
    }

    fn authority(&self) -> Result<Vec<CertificateDer<'static>>, FleetError> {
        Ok(tls::load_certificates(&self.dir.path().join("cv_ca/cacert.crt"))?)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn settings(options: &Options, broker: Option<&RabbitMq>) -> Settings {
    let option = |name: &str, value: String| (name.to_owned(), value);
    let workers = option("max_workers", options.workers.to_string());
    let mut verifier = vec![workers.clone()];
    if options.scenario.is_push() {
        // The whole fleet comes from few addresses and shall measure attestations, not the refusal of sessions.
        verifier.extend([
            option("mode", "push".to_owned()),
            option("session_create_rate_limit_per_ip", "1000000".to_owned()),
            option("session_create_rate_limit_per_agent", "1000".to_owned()),
            option("session_lifetime", "86400".to_owned()),
        ]);
    }
    let revocations = broker.map_or_else(Vec::new, |broker| {
        vec![option("enabled_revocation_notifications", "['amqp']".to_owned()), option("amqp_url", broker.url())]
    });
    Settings {
        verifier_port: ports::free(),
        registrar_port: ports::free(),
        registrar_tls_port: ports::free(),
        agent_port: ports::free(),
        agent_id: "unused".to_owned(),
        quote_interval: options.interval(),
        verifier,
        registrar: vec![workers],
        revocations,
        tenant: Vec::new(),
        agent: Vec::new(),
    }
}

fn spawn(dir: &Path, whose: Implementation, name: &str) -> Result<Guarded, FleetError> {
    let program: PathBuf = match whose {
        Implementation::Ours => binaries::path(name),
        Implementation::Peer => peer::program(name),
    };
    let mut command = configured(dir, program);
    Ok(Guarded::spawn(name, &mut command, &dir.join(format!("{name}.log")))?)
}

/// A program that reads the configuration in `dir`.
fn configured(dir: &Path, program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("KEYLIME_DIR", dir).env_remove("RUST_LOG").env_remove("KEYLIME_TEST");
    for component in ["verifier", "registrar", "tenant", "ca", "logging"] {
        let variable = format!("KEYLIME_{}_CONFIG", component.to_uppercase());
        command.env(variable, dir.join(format!("{component}.conf")));
    }
    command
}
