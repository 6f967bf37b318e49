//! The pull agent from start to stop (`agent-api.md` §6).

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;

use actix_web::web;
use keylime_engine::ids::AgentId;
use keylime_pki::tls::{Identity, TlsError, load_certificates, required_client_auth};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::certificate::{CertificateError, open_server_certificate};
use crate::configuration::address::host_and_port;
use crate::configuration::{AgentSettings, ConfigurationError};
use crate::device_keys::{DeviceKeyError, DeviceKeys};
use crate::identity::uuid::{Identifier, IdentifierError};
use crate::key_derivation::KeyDerivation;
use crate::keys::{KeyError, PayloadKey, open_server_key};
use crate::measurement_logs::MeasurementLogs;
use crate::payload::worker::PayloadWorker;
use crate::privilege::{self, PrivilegeError};
use crate::pull::server;
use crate::pull::state::{AgentState, PayloadRule};
use crate::registration::body::RegistrationBody;
use crate::registration::resilient_client::{RequestError, ResilientClient};
use crate::registration::{RegistrarClient, RegistrationError};
use crate::revocation::actions::ActionRunner;
use crate::revocation::worker::RevocationWorker;
use crate::secure_mount::{self, SecureMountError};
use crate::tpm::esapi::{EsapiTpm, default_tcti};
use crate::tpm::password::{InvalidPassword, password_bytes};
use crate::tpm::{AttestationKey, EndorsementKey, TpmError, TpmHandle, TpmOwner};

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// No id.
    #[error("{0}")]
    Identifier(#[from] IdentifierError),
    /// No secure directory.
    #[error("{0}")]
    SecureMount(#[from] SecureMountError),
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
    /// A key file cannot be used.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The certificate cannot be used.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// None of the files in `trusted_client_ca` holds a certificate.
    #[error("option trusted_client_ca names no file with a certificate")]
    NoClientAuthority,
    /// Not registered.
    #[error("{0}")]
    Registration(#[from] RegistrationError),
    /// No HTTP client.
    #[error("http client: {0}")]
    Client(#[from] RequestError),
    /// A file or socket cannot be used.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What was set up while the process may still have been root.
struct Prepared {
    identifier: Identifier,
    secure: PathBuf,
    logs: MeasurementLogs,
}

/// Runs the agent until it is stopped.
///
/// # Errors
/// See [`DaemonError`]; everything before the server is fatal.
pub fn run(settings: AgentSettings) -> Result<(), DaemonError> {
    let prepared = prepare(&settings)?;
    let password = password_bytes(&settings.tpm.owner_password)?;
    let tcti = default_tcti();
    let owner = TpmOwner::start(move || EsapiTpm::open(&tcti, &password))?;
    let tpm = owner.handle();
    let result = actix_web::rt::System::new().block_on(serve(settings, prepared, tpm));
    // Waits until the TPM library has freed the loaded keys; the slots of a TPM without resource manager are few.
    owner.close();
    result
}

/// Everything that may need privileges, then drops them.
fn prepare(settings: &AgentSettings) -> Result<Prepared, DaemonError> {
    let logs = MeasurementLogs::open(&settings.ima_ml_path, &settings.measuredboot_ml_path);
    let identifier = Identifier::from_option(&settings.uuid)?;
    let secure = secure_mount::prepare(&settings.keylime_dir, &settings.payload.secure_size)?;
    privilege::drop_privileges(settings.run_as.as_deref(), &[&secure])?;
    Ok(Prepared { identifier, secure, logs })
}

async fn serve(settings: AgentSettings, prepared: Prepared, tpm: TpmHandle) -> Result<(), DaemonError> {
    let DeviceKeys { endorsement, ek_hash, attestation } = DeviceKeys::open(&settings, &tpm).await?;
    let agent_id = prepared.identifier.with_ek_hash(&ek_hash)?;
    tracing::info!(target: "keylime.agent", %agent_id, "agent id");

    let payload_key = PayloadKey::open(&settings.keys.payload_key, &settings.keys.payload_key_password)?;
    let server_identity = open_server_identity(&settings, &agent_id)?;
    let certificate = server_identity.as_ref().map(|(pem, _)| pem.as_str());

    let address = host_and_port(&settings.ip, settings.port);
    register(&settings, &agent_id, &endorsement, &attestation, certificate, &tpm).await?;

    let listener = TcpListener::bind(&address)
        .map_err(|source| DaemonError::Io { action: format!("listen on {address}"), source })?;
    let tls = server_identity.map(|(_, identity)| client_authenticated(&settings, identity)).transpose()?;
    let state = start_workers(settings, prepared.secure, prepared.logs, agent_id, &attestation, payload_key, tpm);
    let versions = state.api_versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(target: "keylime.agent", "Starting server with API versions: {versions}");
    tracing::info!(target: "keylime.agent", "Listening on {}://{address}", if tls.is_some() { "https" } else { "http" });
    let failed = |source| DaemonError::Io { action: "run the http server".to_owned(), source };
    server::build(listener, tls, web::Data::new(state)).map_err(failed)?.await.map_err(failed)?;
    tracing::info!(target: "keylime.agent", "agent stopped");
    Ok(())
}

/// The certificate's PEM text and the TLS identity; nothing when mTLS is switched off.
fn open_server_identity(
    settings: &AgentSettings,
    agent_id: &AgentId,
) -> Result<Option<(String, Identity)>, DaemonError> {
    if !settings.keys.enable_agent_mtls {
        tracing::warn!(target: "keylime.agent", "mTLS disabled, tenant and verifier reach this agent over plain http");
        return Ok(None);
    }
    let key = open_server_key(&settings.keys.server_key, &settings.keys.server_key_password)?;
    let pem = open_server_certificate(&settings.keys.server_cert, &key, agent_id.as_str(), &settings.contact_ip)?;
    let certs = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certs| !certs.is_empty())
        .ok_or_else(|| CertificateError::NotPem(settings.keys.server_cert.clone()))?;
    Ok(Some((pem, Identity { certs, key })))
}

fn client_authenticated(settings: &AgentSettings, identity: Identity) -> Result<rustls::ServerConfig, DaemonError> {
    let mut authorities = Vec::new();
    for path in &settings.keys.trusted_client_ca {
        match load_certificates(path) {
            Ok(certificates) => authorities.extend(certificates),
            Err(error) => {
                tracing::warn!(target: "keylime.agent", path = %path.display(), %error, "skipping a client authority");
            }
        }
    }
    if authorities.is_empty() {
        return Err(DaemonError::NoClientAuthority);
    }
    Ok(required_client_auth(identity, authorities)?)
}

async fn register(
    settings: &AgentSettings,
    agent_id: &AgentId,
    endorsement: &EndorsementKey,
    attestation: &AttestationKey,
    certificate: Option<&str>,
    tpm: &TpmHandle,
) -> Result<(), DaemonError> {
    let base = format!("http://{}", host_and_port(&settings.registrar_ip, settings.registrar_port));
    let registrar = RegistrarClient::new(ResilientClient::new(None, settings.backoff)?, base);
    let body = RegistrationBody::new(
        &attestation.blobs.public,
        endorsement,
        certificate,
        &settings.contact_ip,
        settings.contact_port,
    );
    let device_identity = settings.tpm.device_identity.as_ref();
    registrar.register(agent_id, &body, &settings.api_versions, tpm, device_identity).await?;
    Ok(())
}

fn start_workers(
    settings: AgentSettings,
    secure: PathBuf,
    logs: MeasurementLogs,
    agent_id: AgentId,
    attestation: &AttestationKey,
    payload_key: PayloadKey,
    tpm: TpmHandle,
) -> AgentState {
    let revocation = &settings.revocation;
    let address = host_and_port(&revocation.notification_ip, revocation.notification_port);
    let revocation_queue = RevocationWorker {
        certificate: revocation.certificate.clone(),
        actions: ActionRunner::new(revocation.clone(), &settings.keylime_dir, &secure),
        subscription: revocation.enable_notifications.then(|| format!("tcp://{address}")),
    }
    .start();
    let may_run = settings.keys.enable_agent_mtls || settings.payload.enable_insecure_payload;
    let payload_queue = PayloadWorker {
        secure,
        settings: settings.payload,
        revocations: revocation_queue.clone(),
        tpm: tpm.clone(),
        bank: settings.tpm.hash,
    }
    .start();
    AgentState {
        derivation: Mutex::new(KeyDerivation::new(agent_id.as_str())),
        agent_id,
        api_versions: settings.api_versions,
        tpm,
        ak_handle: attestation.handle,
        hash: settings.tpm.hash,
        encryption: settings.tpm.encryption,
        signing: settings.tpm.signing,
        payload_key,
        logs,
        payloads: if may_run { PayloadRule::Run } else { PayloadRule::Drop },
        payload_queue,
        revocation_queue,
    }
}
