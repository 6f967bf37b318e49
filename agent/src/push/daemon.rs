//! The push agent from start to stop: the order of the start, the loop around the state machine, and the end.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keylime_engine::ids::AgentId;
use keylime_pki::tls::{ServerTrust, TlsError, client, load_certificates};
use tokio::signal::unix::{SignalKind, signal};

use crate::configuration::address::host_and_port;
use crate::configuration::push_settings::VerifierTrust;
use crate::configuration::{ConfigurationError, PushSettings};
use crate::device_keys::{DeviceKeyError, DeviceKeys, open_endorsement_key};
use crate::identity::uuid::{Identifier, IdentifierError};
use crate::measurement_logs::MeasurementLogs;
use crate::privilege::{self, PrivilegeError};
use crate::push::attestation::{AttestationClient, AttestationError, OpenAttestation};
use crate::push::boot_time::{BootTimeError, boot_time};
use crate::push::capabilities::{LogExtent, QuotingKey, capabilities};
use crate::push::connection::{ConnectionError, Token, VerifierConnection};
use crate::push::evidence::{CollectionError, collect};
use crate::push::refused_reply::RefusedReply;
use crate::push::session::authenticate;
use crate::push::state_machine::{Jitter, Outcome, Setback, StateMachine, Step};
use crate::registration::body::RegistrationBody;
use crate::registration::resilient_client::{RequestError, ResilientClient};
use crate::registration::{RegistrarClient, RegistrationError};
use crate::tpm::esapi::{EsapiTpm, default_tcti};
use crate::tpm::password::{InvalidPassword, password_bytes};
use crate::tpm::software::SoftwareTpm;
use crate::tpm::{TpmError, TpmHandle, TpmOwner};

/// How long the TPM may take to finish its last command when the agent is stopped.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);
/// How long a log may still be read then.
const RUNTIME_LIMIT: Duration = Duration::from_secs(1);

/// What the push agent is started with.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// The configuration, with the command line's changes.
    pub settings: PushSettings,
    /// First segment of the verifier's paths, such as `v3.0`.
    pub api_version: String,
    /// Limit for an exchange of little data.
    pub timeout: Duration,
    /// The agent's id, if not what the configuration says.
    pub agent_identifier: Option<String>,
    /// Where the registrar is, if not where the configuration says.
    pub registrar_url: Option<String>,
    /// Which TPM is used.
    pub tpm: TpmChoice,
}

/// Which TPM is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmChoice {
    /// The machine's.
    Device,
    /// Keys in a file; only for tests.
    Software,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// No id.
    #[error("{0}")]
    Identifier(#[from] IdentifierError),
    /// Privileges were not dropped.
    #[error("{0}")]
    Privilege(#[from] PrivilegeError),
    /// The TPM failed.
    #[error("{0}")]
    Tpm(#[from] TpmError),
    /// The TPM's keys cannot be had.
    #[error("{0}")]
    DeviceKey(#[from] DeviceKeyError),
    /// The owner password is malformed.
    #[error("option tpm_ownerpassword: {0}")]
    Password(#[from] InvalidPassword),
    /// TLS cannot be set up.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The verifier's address cannot be used.
    #[error("{0}")]
    Verifier(#[from] ConnectionError),
    /// No HTTP client for the registrar.
    #[error("http client: {0}")]
    Client(#[from] RequestError),
    /// The boot time is not known.
    #[error("{0}")]
    BootTime(#[from] BootTimeError),
    /// Signals or the runtime cannot be set up.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Runs the agent until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// See [`PushError`]; only what makes every attempt hopeless ends the agent.
pub fn run(mut options: PushOptions) -> Result<(), PushError> {
    let settings = &mut options.settings;
    let identifier = match &options.agent_identifier {
        Some(text) => Identifier::from_command_line(text)?,
        None => Identifier::from_option(&settings.agent.uuid)?,
    };
    let logs = MeasurementLogs::open(&settings.agent.ima_ml_path, &settings.agent.measuredboot_ml_path);
    privilege::drop_privileges(settings.agent.run_as.as_deref(), &[])?;
    let owner = match options.tpm {
        TpmChoice::Device => {
            let password = password_bytes(&settings.agent.tpm.owner_password)?;
            let tcti = default_tcti();
            TpmOwner::start(move || EsapiTpm::open(&tcti, &password))?
        }
        TpmChoice::Software => {
            tracing::error!(
                target: "keylime.agent",
                "NO TPM IS USED (--avoid-tpm): keys and PCRs are made up in software, attestations prove nothing; \
                 use this for tests only"
            );
            settings.agent.agent_data_path = SoftwareTpm::agent_data_path(&settings.agent.keylime_dir);
            let (directory, logs) = (settings.agent.keylime_dir.clone(), logs.clone());
            TpmOwner::start(move || SoftwareTpm::open(&directory, logs))?
        }
    };
    let result = run_until_stopped(options, identifier, logs, owner.handle());
    close(owner);
    result
}

fn run_until_stopped(
    options: PushOptions,
    identifier: Identifier,
    logs: MeasurementLogs,
    tpm: TpmHandle,
) -> Result<(), PushError> {
    let failed = |action| move |source| PushError::Io { action, source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("start the runtime"))?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("wait for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("wait for signals"))?;
        tokio::select! {
            result = live(options, identifier, logs, tpm) => result,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    if result.is_ok() {
        tracing::info!(target: "keylime.agent", "agent stopped");
    }
    result
}

/// Waits until the TPM library has freed the loaded keys, but not for ever: a TPM may be stuck in a command.
fn close(owner: TpmOwner) {
    let (done, closed) = mpsc::channel();
    thread::spawn(move || {
        owner.close();
        let _ = done.send(());
    });
    if closed.recv_timeout(CLOSE_LIMIT).is_err() {
        tracing::warn!(target: "keylime.agent", "the tpm did not finish its command, leaving its keys loaded");
    }
}

async fn live(
    options: PushOptions,
    identifier: Identifier,
    logs: MeasurementLogs,
    tpm: TpmHandle,
) -> Result<(), PushError> {
    let mut agent = PushAgent::open(options, identifier, logs, tpm).await?;
    let mut step = agent.machine.first();
    loop {
        let outcome = agent.perform(step).await;
        step = agent.machine.next(outcome, random_jitter());
        if !agent.machine.keeps_token() {
            agent.token = None;
        }
        tracing::debug!(target: "keylime.agent", state = ?agent.machine.state(), ?step, "next step");
    }
}

/// The shell around the state machine.
struct PushAgent {
    machine: StateMachine,
    client: AttestationClient,
    registrar: RegistrarClient,
    settings: PushSettings,
    tpm: TpmHandle,
    logs: MeasurementLogs,
    key: QuotingKey,
    boot_time: String,
    token: Option<Token>,
    open: Option<OpenAttestation>,
}

impl PushAgent {
    async fn open(
        options: PushOptions,
        identifier: Identifier,
        logs: MeasurementLogs,
        tpm: TpmHandle,
    ) -> Result<Self, PushError> {
        let settings = options.settings;
        let boot_time = boot_time(&settings.proc_path, &settings.agent.keylime_dir)?;
        let tls = client(None, trust(settings.verifier_trust, &settings.verifier_ca)?)?;
        let verifier = VerifierConnection::new(&settings.verifier_url, tls, options.timeout)?;
        let registrar = registrar(&settings, options.registrar_url.as_deref())?;
        let DeviceKeys { ek_hash, attestation, .. } = DeviceKeys::open(&settings.agent, &tpm).await?;
        let agent_id = identifier.with_ek_hash(&ek_hash)?;
        tracing::info!(target: "keylime.agent", %agent_id, verifier = settings.verifier_url, "push agent");
        let key = QuotingKey {
            public: attestation.blobs.public,
            algorithm: settings.agent.tpm.encryption,
            hash: settings.agent.tpm.hash,
            signing: settings.agent.tpm.signing,
            identifier: settings.key_identifier.clone(),
            banks: tpm.run(|tpm| tpm.allocated_banks()).await?,
        };
        Ok(Self {
            machine: StateMachine::new(settings.interval, settings.agent.backoff),
            client: AttestationClient { verifier, api_version: options.api_version, agent_id },
            registrar,
            settings,
            tpm,
            logs,
            key,
            boot_time,
            token: None,
            open: None,
        })
    }

    async fn perform(&mut self, step: Step) -> Outcome {
        match step {
            Step::Register => match self.register().await {
                Ok(()) => Outcome::Registered,
                Err(error) => {
                    tracing::error!(target: "keylime.agent", "registration failed, trying again: {error}");
                    Outcome::RegistrationFailed
                }
            },
            Step::Authenticate => self.authenticate().await,
            Step::Negotiate => self.negotiate().await,
            Step::Attest => self.attest().await,
            Step::Wait(duration) => {
                tokio::time::sleep(duration).await;
                Outcome::Waited
            }
        }
    }

    async fn register(&self) -> Result<(), RegistrationError> {
        let agent = &self.settings.agent;
        // The registration frees its slot again.
        let endorsement = open_endorsement_key(agent, &self.tpm).await?;
        let body = RegistrationBody::new(&self.key.public, &endorsement, None, &agent.contact_ip, agent.contact_port);
        let versions = &self.settings.registrar_api_versions;
        let device_identity = agent.tpm.device_identity.as_ref();
        self.registrar.register(self.agent_id(), &body, versions, &self.tpm, device_identity).await.map(|_| ())
    }

    async fn authenticate(&mut self) -> Outcome {
        let AttestationClient { verifier, api_version, agent_id } = &self.client;
        match authenticate(verifier, api_version, agent_id, &self.tpm).await {
            Ok(token) => {
                tracing::info!(target: "keylime.agent", "session with the verifier established");
                self.token = Some(token);
                Outcome::Authenticated
            }
            Err(error) => {
                tracing::warn!(target: "keylime.agent", "no session: {error}");
                Outcome::Failed(error.setback())
            }
        }
    }

    async fn negotiate(&mut self) -> Outcome {
        match self.try_negotiate().await {
            Ok(open) => {
                self.open = Some(open);
                Outcome::Negotiated
            }
            Err(error) => failed(&error),
        }
    }

    async fn try_negotiate(&self) -> Result<OpenAttestation, AttestationError> {
        let token = self.token.as_ref().ok_or_else(no_token)?;
        let extent = self.log_extent().await?;
        let offer = capabilities(&self.key, &extent, self.boot_time.clone());
        self.client.negotiate(token, offer, &self.key).await
    }

    async fn log_extent(&self) -> Result<LogExtent, CollectionError> {
        let logs = self.logs.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let boot = logs.boot_log()?.map(|log| crate::boot_log::event_count(&log));
            Ok::<_, std::io::Error>((logs.ima_entry_count()?, boot))
        });
        let (ima_entries, boot_events) = counted
            .await
            .map_err(std::io::Error::other)
            .and_then(|counted| counted)
            .map_err(|source| CollectionError::Log { log: "measurement logs", source })?;
        Ok(LogExtent { ima_entries, boot_events, boot_log_version: self.settings.boot_log_version.clone() })
    }

    async fn attest(&mut self) -> Outcome {
        match self.try_attest().await {
            Ok(next_in) => {
                tracing::info!(target: "keylime.agent", next_in = ?next_in, "SUCCESS: evidence accepted by the verifier");
                Outcome::Accepted { next_in }
            }
            Err(error) => failed(&error),
        }
    }

    async fn try_attest(&mut self) -> Result<Option<Duration>, AttestationError> {
        let token = self.token.as_ref().ok_or_else(no_token)?;
        let OpenAttestation { location, plans } =
            self.open.take().ok_or_else(|| AttestationError::Answer("nothing was negotiated".to_owned()))?;
        let evidence = collect(&plans, &self.tpm, &self.logs).await?;
        self.client.deliver(token, location, evidence).await
    }

    fn agent_id(&self) -> &AgentId {
        &self.client.agent_id
    }
}

fn failed(error: &AttestationError) -> Outcome {
    let setback = error.setback();
    match setback {
        Setback::Unauthorized => tracing::info!(target: "keylime.agent", "the token is no longer good: {error}"),
        Setback::Unreachable | Setback::Forbidden | Setback::UnknownAgent | Setback::Busy { .. } | Setback::Refused => {
            tracing::warn!(target: "keylime.agent", "attestation failed: {error}")
        }
    }
    Outcome::Failed(setback)
}

/// The state machine never asks for it, and if it did, a new session is the way out.
fn no_token() -> AttestationError {
    let body = "there is no token".to_owned();
    RefusedReply { action: "nothing", status: 401, body, setback: Setback::Unauthorized }.into()
}

fn trust(rule: VerifierTrust, authority: &Path) -> Result<ServerTrust, TlsError> {
    Ok(match rule {
        VerifierTrust::Full => ServerTrust::AuthoritiesAndName(load_certificates(authority)?),
        VerifierTrust::AnyHostName => {
            tracing::warn!(target: "keylime.agent", "host names in server certificates are not checked");
            ServerTrust::Authorities(load_certificates(authority)?)
        }
        VerifierTrust::Nothing => {
            tracing::error!(
                target: "keylime.agent",
                "SERVER CERTIFICATES ARE NOT CHECKED: anybody on the way can take the verifier's place; \
                 use this for tests only"
            );
            ServerTrust::All
        }
    })
}

fn registrar(settings: &PushSettings, url: Option<&str>) -> Result<RegistrarClient, PushError> {
    let agent = &settings.agent;
    let (base, tls) = match (url, &settings.registrar_tls) {
        (Some(url), tls) => {
            let authority = tls.as_ref().map_or(settings.verifier_ca.as_path(), |tls| tls.ca.as_path());
            (url.trim_end_matches('/').to_owned(), url.starts_with("https://").then_some(authority))
        }
        (None, Some(tls)) => {
            (format!("https://{}", host_and_port(&agent.registrar_ip, tls.port)), Some(tls.ca.as_path()))
        }
        (None, None) => (format!("http://{}", host_and_port(&agent.registrar_ip, agent.registrar_port)), None),
    };
    let tls = tls.map(|authority| client(None, trust(settings.verifier_trust, authority)?)).transpose()?;
    Ok(RegistrarClient::new(ResilientClient::new(tls, agent.backoff)?, base))
}

fn random_jitter() -> Jitter {
    let mut bytes = [0; 2];
    // Without randomness the waits are the shortest ones, still doubling.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    Jitter(u16::from_be_bytes(bytes))
}
