//! Puts the verifier system together from its configuration: database, way to the agents, revocations, actors.

use crate::boot_policies;
use crate::configuration::{
    AmqpTlsConfiguration, ClientCertificate, Mode, PushConfiguration, RevocationConfiguration, TrustedAuthorities,
    VerifierConfiguration,
};
use crate::startup::StartError;
use crate::tls::{TlsPaths, TlsSetupError, refuse_exposed};
use keylime_actors::adapters::http_evidence_transport::{HttpEvidenceTransport, TransportOptions};
use keylime_actors::ports::{EvidenceTransport, VerifierStore};
use keylime_actors::revocation::agent_notices::{AgentNotices, NoticeBounds};
use keylime_actors::revocation::amqp::{Amqp, AmqpOptions};
use keylime_actors::revocation::composer::NoticeComposer;
use keylime_actors::revocation::webhook::{Webhook, WebhookOptions};
use keylime_actors::revocation::zeromq::ZeroMq;
use keylime_actors::revocation::{Notifier, PublisherOptions, RevocationHandle, RevocationPublisher};
use keylime_actors::sessions::{Extension, SessionHandle, SessionLimits, SessionOptions, SessionPorts, SessionStore};
use keylime_actors::verifier::{
    self, AgentTls, AttestationModel, EngineAppraiser, PushOptions, VerifierHandle, VerifierOptions, VerifierPorts,
};
use keylime_engine::appraise::PresentedTerms;
use keylime_engine::ima::ImaOptions;
use keylime_engine::lifecycle::Growth;
use keylime_engine::lifecycle::push_transition::{FailureRecovery, TimeoutRecovery, TokenExtension};
use keylime_engine::lifecycle::rate_limit::Rate;
use keylime_engine::measured_boot::BootPolicies;
use keylime_engine::verdict::SeverityPolicy;
use keylime_pki::tls::{self, Identity, ServerTrust};
use rustls_pki_types::CertificateDer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::UtcOffset;

/// Webhook requests under way at one time.
const WEBHOOK_WINDOW: usize = 32;

/// A running verifier system.
#[derive(Clone)]
pub struct VerifierSystem {
    /// The actors.
    pub handle: VerifierHandle,
    /// The publisher of revocations.
    pub revocations: RevocationHandle,
    /// The sessions of push agents.
    pub sessions: SessionHandle,
}

/// Starts the system.
///
/// # Errors
/// When an option asks for something that does not work; the text is for the operator.
pub async fn start(
    configuration: &VerifierConfiguration,
    paths: &TlsPaths,
    store: Arc<dyn VerifierStore>,
    session_store: Arc<dyn SessionStore>,
    local_time: UtcOffset,
) -> Result<VerifierSystem, StartError> {
    let severity = SeverityPolicy::new(configuration.severity_labels.clone(), &configuration.severity_policy)
        .map_err(|error| StartError::Other(error.to_string()))?;
    let client = ClientSide::load(configuration, paths)?;
    let agent_tls = if configuration.enable_agent_mtls { AgentTls::Enabled } else { AgentTls::Disabled };
    let transport = TransportOptions { request_timeout: configuration.request_timeout, ..TransportOptions::default() };
    let transport: Arc<dyn EvidenceTransport> =
        Arc::new(HttpEvidenceTransport::new(client.identity()?, &client.authorities, transport).map_err(tls_error)?);
    let to_agents = || {
        AgentNotices::new(
            Arc::clone(&store),
            configuration.uuid.as_str(),
            Arc::clone(&transport),
            agent_tls,
            NoticeBounds::default(),
        )
    };
    let notifiers = notifiers(configuration, &client, to_agents).await?;
    let revocations = RevocationPublisher::start(Arc::clone(&store), notifiers, PublisherOptions::default())
        .map_err(StartError::system("cannot start the publisher of revocations"))?;
    let composer = NoticeComposer::new(configuration.revocations.notifiers.clone(), local_time, revocations.clone());
    let ima_options = ImaOptions { ignore_tomtou_errors: configuration.ignore_tomtou_errors };
    let boot_policies = boot_policies::load(configuration)?;
    let (presented, boot_evaluation) = (boot_policies.clone(), configuration.boot_evaluation.clone());
    let appraiser =
        Arc::new(EngineAppraiser { terms: PresentedTerms { ima_options, boot_policies: presented, boot_evaluation } });
    let ports = VerifierPorts::new(store, transport, Arc::new(composer), appraiser);
    let session_ports = SessionPorts {
        agents: Arc::clone(&ports.store),
        sessions: session_store,
        clock: Arc::clone(&ports.clock),
        entropy: Arc::clone(&ports.entropy),
    };
    let (sessions, writer) = SessionHandle::new(session_options(&configuration.push), session_ports);
    actix_rt::spawn(writer);
    let handle = verifier::start(options(configuration, severity, boot_policies), agent_tls, ports)
        .map_err(|error| StartError::Other(format!("cannot start the verifier system: {error}")))?;
    handle.extend_tokens_with(Arc::new(sessions.clone()));
    Ok(VerifierSystem { handle, revocations, sessions })
}

fn options(
    configuration: &VerifierConfiguration,
    severity: SeverityPolicy,
    boot_policies: BootPolicies,
) -> VerifierOptions {
    VerifierOptions {
        verifier_id: configuration.uuid.clone(),
        quote_interval: Duration::from_secs_f64(configuration.quote_interval),
        retry_interval: configuration.retry_interval,
        growth: if configuration.exponential_backoff { Growth::Exponential } else { Growth::Constant },
        max_retries: configuration.max_retries,
        request_timeout: configuration.request_timeout,
        severity,
        model: match configuration.mode {
            Mode::Pull => AttestationModel::Pull,
            Mode::Push => AttestationModel::Push,
            Mode::Both => AttestationModel::Both,
        },
        push: push_options(&configuration.push),
        boot_policies,
        ..VerifierOptions::default()
    }
}

fn session_options(push: &PushConfiguration) -> SessionOptions {
    let rate = |limit, window| Rate { limit, window };
    SessionOptions {
        challenge_lifetime: push.nonce_lifetime,
        session_lifetime: push.session_lifetime,
        extension: if push.extend_token_on_attestation { Extension::OnAttestation } else { Extension::Never },
        limits: SessionLimits {
            per_address: rate(push.session_create_rate_limit_per_ip, push.session_create_rate_limit_window_ip),
            per_agent: rate(push.session_create_rate_limit_per_agent, push.session_create_rate_limit_window_agent),
            budget: rate(push.session_create_rate_limit_global, push.session_create_rate_limit_window_global),
        },
    }
}

fn push_options(push: &PushConfiguration) -> PushOptions {
    PushOptions {
        challenge_lifetime: push.challenge_lifetime,
        verification_timeout: push.verification_timeout,
        failure_recovery: if push.auto_recover_attestation_failures {
            FailureRecovery::Automatic
        } else {
            FailureRecovery::Manual
        },
        timeout_recovery: if push.timeout_recovery_manual {
            TimeoutRecovery::Manual
        } else {
            TimeoutRecovery::Automatic
        },
        token_extension: if push.extend_token_on_attestation { TokenExtension::OnPass } else { TokenExtension::Never },
    }
}

/// What the verifier shows and trusts when it is the client: towards agents, webhook and broker.
struct ClientSide<'c> {
    configuration: &'c VerifierConfiguration,
    paths: &'c TlsPaths,
    /// Certificates of `trusted_server_ca`; none when it is `all`.
    authorities: Vec<CertificateDer<'static>>,
}

impl<'c> ClientSide<'c> {
    fn load(configuration: &'c VerifierConfiguration, paths: &'c TlsPaths) -> Result<Self, StartError> {
        let authorities = certificates(paths, &configuration.trusted_server_ca)?;
        Ok(Self { configuration, paths, authorities })
    }

    /// The client certificate, when agents are to see one.
    fn identity(&self) -> Result<Option<Identity>, StartError> {
        if !self.configuration.enable_agent_mtls {
            return Ok(None);
        }
        self.own_identity().map(Some)
    }

    fn own_identity(&self) -> Result<Identity, StartError> {
        let certificate = self.paths.file(self.configuration.client_cert.as_deref(), "client-cert.crt");
        let key = self.paths.file(self.configuration.client_key.as_deref(), "client-private.pem");
        load_guarded(&certificate, &key, self.configuration.client_key_password.as_deref())
    }

    /// Whose certificates a broker may have.
    fn broker_authorities(&self, tls: &AmqpTlsConfiguration) -> Result<Vec<CertificateDer<'static>>, StartError> {
        match &tls.trusted_server_ca {
            TrustedAuthorities::Default | TrustedAuthorities::All => Ok(self.authorities.clone()),
            TrustedAuthorities::Files(_) => certificates(self.paths, &tls.trusted_server_ca),
        }
    }

    /// What a broker is shown.
    fn broker_identity(&self, tls: &AmqpTlsConfiguration) -> Result<Option<Identity>, StartError> {
        match &tls.client_certificate {
            ClientCertificate::None => Ok(None),
            ClientCertificate::OfVerifier => self.own_identity().map(Some),
            ClientCertificate::Files { certificate, key } => {
                let file = |name: &Path| self.paths.file(Some(name), "");
                load_guarded(&file(certificate), &file(key), tls.client_key_password.as_deref()).map(Some)
            }
        }
    }

    fn trust(&self) -> ServerTrust {
        match self.configuration.trusted_server_ca {
            TrustedAuthorities::All => ServerTrust::All,
            TrustedAuthorities::Default | TrustedAuthorities::Files(_) => {
                ServerTrust::Authorities(self.authorities.clone())
            }
        }
    }
}

async fn notifiers(
    configuration: &VerifierConfiguration,
    client: &ClientSide<'_>,
    to_agents: impl Fn() -> AgentNotices,
) -> Result<Vec<Arc<dyn Notifier>>, StartError> {
    let revocations = &configuration.revocations;
    let mut notifiers: Vec<Arc<dyn Notifier>> = Vec::new();
    for name in &revocations.notifiers {
        notifiers.push(match *name {
            "webhook" => Arc::new(webhook(revocations, configuration.request_timeout, client)?),
            "amqp" => Arc::new(amqp(revocations, &configuration.uuid, client)?),
            "zeromq" => Arc::new(zeromq(revocations).await?),
            _ => Arc::new(to_agents()),
        });
    }
    Ok(notifiers)
}

fn webhook(
    revocations: &RevocationConfiguration,
    timeout: Duration,
    client: &ClientSide<'_>,
) -> Result<Webhook, StartError> {
    let tls = tls::client(client.identity()?, client.trust()).map_err(tls_error)?;
    Webhook::new(WebhookOptions { url: revocations.webhook_url.clone(), tls, timeout, window: WEBHOOK_WINDOW })
        .map_err(|error| StartError::Other(error.to_string()))
}

fn amqp(revocations: &RevocationConfiguration, uuid: &str, client: &ClientSide<'_>) -> Result<Amqp, StartError> {
    let mut options = AmqpOptions::new(revocations.amqp_url.as_str(), uuid);
    if options.uses_tls() {
        options.authorities = client.broker_authorities(&revocations.amqp_tls)?;
        if options.authorities.is_empty() {
            let told = "amqps needs to know who may sign the broker's certificate; set amqp_trusted_server_ca";
            return Err(StartError::Other(told.to_owned()));
        }
        options.identity = client.broker_identity(&revocations.amqp_tls)?;
    }
    Amqp::new(options).map_err(|error| StartError::Other(error.to_string()))
}

async fn zeromq(revocations: &RevocationConfiguration) -> Result<ZeroMq, StartError> {
    let notifier = ZeroMq::new(&revocations.zmq_ip, revocations.zmq_port);
    // Bound before the first notice, so that subscribers that are waiting miss none.
    notifier.bind().await.map_err(StartError::Other)?;
    Ok(notifier)
}

fn certificates(paths: &TlsPaths, trusted: &TrustedAuthorities) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let files = paths.authorities(trusted).into_iter().flatten();
    let read: Vec<_> = files.map(|file| tls::load_certificates(&file).map_err(tls_error)).collect::<Result<_, _>>()?;
    Ok(read.into_iter().flatten().collect())
}

/// Reads a certificate and its key, unless everybody can read the key.
fn load_guarded(certificate: &Path, key: &Path, password: Option<&str>) -> Result<Identity, StartError> {
    refuse_exposed(key)?;
    tls::load_identity(certificate, key, password).map_err(tls_error)
}

fn tls_error(error: tls::TlsError) -> StartError {
    TlsSetupError::from(error).into()
}
