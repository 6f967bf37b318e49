//! Keylime's verifier: attests enrolled machines, again and again.

#![forbid(unsafe_code)]

use keylime_actors::adapters::session_rows::SqlSessionStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_gateway::backend::VerifierBackend;
use keylime_gateway::configuration::{Mode, TrustedAuthorities, VerifierConfiguration};
use keylime_gateway::routes::{VerifierSettings, VerifierState, attestation_routes, verifier_routes};
use keylime_gateway::routing::Route;
use keylime_gateway::startup::{self, CommandLine, Operations, Outcome, StartError, StopSignals};
use keylime_gateway::tls::{Generated, TlsPaths};
use keylime_gateway::verifier_system::{self, VerifierSystem};
use keylime_schema::database::Service;
use keylime_settings::{Component, Config, logging, work_dir};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use time::UtcOffset;

/// Handshakes of a whole fleet leave holes between what lasts; this allocator gives their pages back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Known only as long as there is one thread.
    let local_time = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    logging::init(logging::Program::Verifier);
    let config = match CommandLine::read(Component::Verifier) {
        Outcome::Start(config) => config,
        Outcome::End(code) => return code,
    };
    match actix_rt::System::new().block_on(run(&config, local_time)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "keylime.verifier", critical = true, "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config, local_time: UtcOffset) -> Result<(), StartError> {
    startup::prepare_process()?;
    let configuration = VerifierConfiguration::read(config)?;
    let mode = match configuration.mode {
        Mode::Pull => "PULL",
        Mode::Push => "PUSH",
        Mode::Both => "PULL and PUSH",
    };
    tracing::info!(target: "keylime.verifier", "Starting Keylime verifier in {mode} mode...");
    startup::announce(config);
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| StartError::Other(e.to_string()))?;
    let work_dir = work_dir();
    startup::require_work_dir(&work_dir)?;
    let web = &configuration.web;
    let paths = TlsPaths::new(&work_dir, Component::Verifier, &configuration.tls.directory);
    let client = Generated::ServerAndClient(configuration.client_key_password.as_deref());
    let tls = startup::server_tls(&paths, &configuration.tls, &web.ip, not_default(&configuration), client)?;
    let database = startup::open_database(&configuration.database, Service::Verifier, &work_dir).await?;
    let store = Arc::new(SqlVerifierStore::new(database.clone()));
    let sessions = Arc::new(SqlSessionStore::new(database.clone()));
    let stop = StopSignals::watch()?;
    let system = verifier_system::start(&configuration, &paths, store, sessions, local_time).await?;
    let state = VerifierState {
        backend: Arc::new(system.handle.clone()),
        sessions: system.sessions.clone(),
        settings: settings(&configuration, &work_dir),
    };
    let tokens = Arc::new(system.sessions.clone());
    let operations = Operations { metrics, probe: probe(&system) };
    let servers = startup::serve(web, tls, routes_of(configuration.mode), state, tokens, operations)?;
    stop.received().await;
    for server in &servers {
        server.drain(web.shutdown_drain).await;
    }
    system.handle.shutdown(web.shutdown_drain).await;
    system.sessions.shutdown(web.shutdown_drain).await;
    system.revocations.shutdown(web.shutdown_drain).await;
    database.close().await;
    for server in &servers {
        server.stop().await;
    }
    tracing::info!(target: "keylime.verifier", "Verifier stopped");
    Ok(())
}

fn routes_of(mode: Mode) -> Vec<Route<VerifierState>> {
    let mut routes = verifier_routes();
    match mode {
        Mode::Pull => {}
        Mode::Push | Mode::Both => routes.extend(attestation_routes()),
    }
    routes
}

/// The client options that have to be `default` for `tls_dir = generate`, and are not.
fn not_default(configuration: &VerifierConfiguration) -> Vec<&'static str> {
    let options = [
        ("client_cert", configuration.client_cert.is_none()),
        ("client_key", configuration.client_key.is_none()),
        ("trusted_server_ca", configuration.trusted_server_ca == TrustedAuthorities::Default),
    ];
    options.into_iter().filter(|(_, is_default)| !is_default).map(|(option, _)| option).collect()
}

fn settings(configuration: &VerifierConfiguration, work_dir: &Path) -> VerifierSettings {
    VerifierSettings {
        ip: configuration.web.ip.clone(),
        port: configuration.web.https_port,
        agent_mtls: configuration.enable_agent_mtls,
        mode: configuration.mode,
        quote_interval: configuration.quote_interval,
        policy_signatures_required: configuration.require_allow_list_signatures,
        signing_keys: work_dir.join("signing_keys"),
    }
}

fn probe(system: &VerifierSystem) -> keylime_gateway::routes::operations::Probe {
    let handle: Arc<dyn VerifierBackend> = Arc::new(system.handle.clone());
    Arc::new(move || handle.ready().map_err(str::to_owned))
}
