//! Metrics and health, for operators' tools, on a listener of its own that is off by default.

use crate::authorization::{Gate, NoSessions, Permit, SimpleProvider, permitted};
use crate::routing::{Call, Reply, Route, Router, RouterLimits};
use crate::server::{ConnectionLimits, Endpoint, RunningServer, bind};
use crate::startup::{Operations, StartError};
use actix_web::http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Tells whether the system works: `Ok` or the reason why not.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The routes of the listener: `/metrics` for Prometheus, `/healthz` (the process answers) and `/readyz` (its system works).
#[must_use]
pub fn operations_routes() -> Vec<Route<Operations>> {
    vec![
        Route::new(Method::GET, "/metrics", show_metrics).on_any_transport().with_small_body(),
        Route::new(Method::GET, "/healthz", healthy).on_any_transport().with_small_body(),
        Route::new(Method::GET, "/readyz", ready).on_any_transport().with_small_body(),
    ]
}

/// Starts the listener on `address`, an IP address or host name with a port.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(address: &str, operations: Operations) -> Result<RunningServer, StartError> {
    let unusable = || StartError::Other(format!("option 'metrics_listen': '{address}' is not <address>:<port>"));
    let (host, port) = address.rsplit_once(':').ok_or_else(unusable)?;
    let port = port.parse().map_err(|_| unusable())?;
    let socket = bind(host, port).map_err(StartError::system(format!("cannot listen on {address}")))?;
    let gate = Gate::new(Arc::new(SimpleProvider), Arc::new(NoSessions));
    let limits = RouterLimits { max_upload_size: 0, body_deadline: Duration::from_secs(5) };
    let router = Arc::new(Router::new(operations_routes(), gate, Arc::new(operations), limits));
    RunningServer::start(vec![Endpoint::Plain(socket)], router, 1, ConnectionLimits::default())
        .map_err(StartError::system("cannot start the metrics listener"))
}

async fn show_metrics(state: Arc<Operations>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::text(StatusCode::OK, "text/plain; version=0.0.4", state.metrics.render())
}

async fn healthy(_: Arc<Operations>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::text(StatusCode::OK, "text/plain", "ok\n".to_owned())
}

async fn ready(state: Arc<Operations>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    match (state.probe)() {
        Ok(()) => Reply::text(StatusCode::OK, "text/plain", "ready\n".to_owned()),
        Err(reason) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{reason}\n")),
    }
}
