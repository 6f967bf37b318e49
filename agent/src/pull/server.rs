//! The HTTP server: mTLS or, where it is switched off, plain.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};

use crate::pull::routes;
use crate::pull::state::AgentState;

/// Server threads; quotes wait for the TPM anyway.
const WORKERS: usize = 2;
/// Connections one thread keeps; verifier and tenants need a handful.
const MAX_CONNECTIONS: usize = 256;
/// A client that does not finish its handshake must not keep others waiting (CVE-2023-38200).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that does not finish its request header is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests in progress get this long when the agent is stopped.
const SHUTDOWN_SECONDS: u64 = 5;

/// Builds the server on a bound socket; it runs when awaited and stops gracefully on SIGINT and SIGTERM.
///
/// # Errors
/// The socket cannot be used.
pub fn build(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    state: web::Data<AgentState>,
) -> io::Result<Server> {
    let versions = state.api_versions.clone();
    let server = HttpServer::new(move || App::new().app_data(state.clone()).configure(routes::configure(&versions)))
        .workers(WORKERS)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(REQUEST_TIMEOUT)
        .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_SECONDS);
    let server = match tls {
        Some(configuration) => server.listen_rustls_0_23(listener, configuration)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}
