//! Keylime's registrar: keeps the identities of machines with a TPM.

#![forbid(unsafe_code)]

use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::registrar::{self, RegistrarHandle, RegistrarOptions, StoreLocation};
use keylime_engine::identity::registration::{MalformedCertificateAction, RegistrationRules, TpmIdentity};
use keylime_gateway::authorization::NoSessions;
use keylime_gateway::configuration::RegistrarConfiguration;
use keylime_gateway::routes::{RegistrarState, registrar_routes};
use keylime_gateway::startup::{self, CommandLine, Operations, Outcome, StartError, StopSignals};
use keylime_gateway::tls::{Generated, TlsPaths};
use keylime_schema::database::Service;
use keylime_settings::{Component, Config, logging, work_dir};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Handshakes of a whole fleet leave holes between what lasts; this allocator gives their pages back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    logging::init(logging::Program::Registrar);
    let config = match CommandLine::read(Component::Registrar) {
        Outcome::Start(config) => config,
        Outcome::End(code) => return code,
    };
    match actix_rt::System::new().block_on(run(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "keylime.registrar", critical = true, "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> Result<(), StartError> {
    startup::prepare_process()?;
    tracing::info!(target: "keylime.registrar", "Starting Keylime registrar...");
    startup::announce(config);
    let configuration = RegistrarConfiguration::read(config)?;
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| StartError::Other(e.to_string()))?;
    let work_dir = work_dir();
    startup::require_work_dir(&work_dir)?;
    let paths = TlsPaths::new(&work_dir, Component::Registrar, &configuration.tls.directory);
    let tls = startup::server_tls(&paths, &configuration.tls, &configuration.web.ip, Vec::new(), Generated::Server)?;
    let database = startup::open_database(&configuration.database, Service::Registrar, &work_dir).await?;
    let stop = StopSignals::watch()?;
    let handle = start_system(&configuration, SqlRegistrarStore::new(database.clone()))?;
    let ready = handle.clone();
    let operations = Operations {
        metrics,
        probe: Arc::new(move || if ready.ready() { Ok(()) } else { Err("stopping".to_owned()) }),
    };
    let state = RegistrarState { backend: Arc::new(handle.clone()) };
    let servers = startup::serve(&configuration.web, tls, registrar_routes(), state, Arc::new(NoSessions), operations)?;
    stop.received().await;
    for server in &servers {
        server.drain(configuration.web.shutdown_drain).await;
    }
    handle.shutdown(configuration.web.shutdown_drain).await;
    database.close().await;
    for server in &servers {
        server.stop().await;
    }
    tracing::info!(target: "keylime.registrar", "Registrar stopped");
    Ok(())
}

fn start_system(
    configuration: &RegistrarConfiguration,
    store: SqlRegistrarStore,
) -> Result<RegistrarHandle, StartError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let options = RegistrarOptions {
        shards: (processors / 4).max(1),
        cpu_threads: (processors / 2).max(1),
        rules: RegistrationRules {
            tpm_identity: TpmIdentity::from_option(&configuration.tpm_identity),
            malformed_certificates: MalformedCertificateAction::from_option(&configuration.malformed_cert_action),
        },
        tpm_cert_store: StoreLocation::found_by(tpm_cert_store),
        ..RegistrarOptions::default()
    };
    registrar::start(options, Arc::new(store)).map_err(StartError::system("cannot start the registrar system"))
}

/// Certificates of the authorities that issue IAK and IDevID certificates: an option of the tenant, as for the reference.
fn tpm_cert_store() -> std::io::Result<PathBuf> {
    let tenant = Config::load(Component::Tenant).map_err(std::io::Error::other)?;
    let configured = tenant.place("tenant", "tpm_cert_store").filter(|path| !path.is_empty());
    Ok(configured.map_or_else(|| "/var/lib/keylime/tpm_cert_store".into(), |path| work_dir().join(path)))
}
