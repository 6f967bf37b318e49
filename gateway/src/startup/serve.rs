//! Binds, serves until told to stop, and drains.

use super::StartError;
use crate::authorization::{Gate, Provider, SimpleProvider, Tokens};
use crate::configuration::WebConfiguration;
use crate::routes::described;
use crate::routes::operations::{self, Probe};
use crate::routing::{Route, Router, RouterLimits};
use crate::server::{ConnectionLimits, Endpoint, RunningServer, TlsSource, bind};
use crate::tls::{ServerTlsFiles, reload_when_changed};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A body has to be complete after this time; enough for `max_upload_size` over a slow line.
const BODY_DEADLINE: Duration = Duration::from_secs(300);
/// How often certificates and revocation lists are looked at.
const TLS_RELOAD_PERIOD: Duration = Duration::from_secs(5);

/// What the plain listener for metrics and health shows.
pub struct Operations {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Whether the system behind the server works.
    pub probe: Probe,
}

/// Binds the listeners and starts to serve.
///
/// # Errors
/// When an address cannot be bound or certificates cannot be used.
pub fn serve<S: Send + Sync + 'static>(
    web: &WebConfiguration,
    tls: ServerTlsFiles,
    routes: Vec<Route<S>>,
    state: S,
    tokens: Arc<dyn Tokens>,
    operations: Operations,
) -> Result<Vec<RunningServer>, StartError> {
    let source = Arc::new(TlsSource::new(tls.load()?));
    let listen =
        |port: u16| bind(&web.ip, port).map_err(StartError::system(format!("cannot listen on {} port {port}", web.ip)));
    let mut endpoints = Vec::new();
    if let Some(port) = web.http_port {
        endpoints.push(Endpoint::Plain(listen(port)?));
    }
    endpoints.push(Endpoint::Tls(listen(web.https_port)?, Arc::clone(&source)));
    let limits = RouterLimits { max_upload_size: web.max_upload_size, body_deadline: BODY_DEADLINE };
    let gate = Gate::new(provider(&web.authorization_provider), tokens);
    let routes = described("Keylime", routes);
    let router = Arc::new(Router::new(routes, gate, Arc::new(state), limits));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let started = |endpoints, workers| {
        RunningServer::start(endpoints, Arc::clone(&router), workers, ConnectionLimits::default())
            .map_err(StartError::system("cannot start the web server"))
    };
    let mut servers = vec![started(endpoints, web.workers(processors))?];
    if let Some(address) = &web.metrics_listen {
        servers.push(operations::start(address, operations)?);
    }
    actix_rt::spawn(reload_when_changed(tls, source, TLS_RELOAD_PERIOD));
    let plain = web.http_port.map_or(String::new(), |port| format!("http port {port} and "));
    tracing::info!(target: "keylime.web", "Listening on {}, {plain}https port {}", web.ip, web.https_port);
    Ok(servers)
}

fn provider(name: &str) -> Arc<dyn Provider> {
    if name != "simple" {
        tracing::error!(
            target: "keylime.authorization",
            "Unknown authorization_provider '{name}', using 'simple'"
        );
    }
    Arc::new(SimpleProvider)
}

/// SIGTERM and SIGINT, noticed from when this is made on: whoever sees a port answer may end the process in order.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Notices the signals from now on; until then they end the process at once.
    ///
    /// # Errors
    /// When the signals cannot be received.
    pub fn watch() -> Result<Self, StartError> {
        let receive = |kind| signal(kind).map_err(StartError::system("cannot receive signals"));
        Ok(Self { terminate: receive(SignalKind::terminate())?, interrupt: receive(SignalKind::interrupt())? })
    }

    /// Waits for one of them, or for none if it has come already.
    pub async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!(target: "keylime.web", "SIGTERM received, stopping"),
            _ = self.interrupt.recv() => tracing::info!(target: "keylime.web", "SIGINT received, stopping"),
        }
    }
}
