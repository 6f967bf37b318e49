//! Listeners, connections and their bounds.
//!
//! Accepting never waits for a client: every connection does its TLS handshake in its own task, under a deadline and
//! within caps per address and in total (CVE-2023-38200), and has to send its request head and body in time.

mod body;
mod connection;
mod half_open;
mod http_service;
mod listener;
mod tls_source;

pub use connection::ConnectionFacts;
pub use half_open::{HalfOpen, HalfOpenLimits};
pub use listener::bind;
pub use tls_source::TlsSource;

pub(crate) use body::{BodyError, discard_body, read_body};

use crate::routing::{Router, Traffic};
use actix_server::{Server, ServerHandle};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Seconds that connections get to close when the server ends.
const CLOSING_SECONDS: u64 = 2;

/// Bounds of a server's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// A TLS handshake has to be complete after this time.
    pub handshake_deadline: Duration,
    /// A request head has to be complete after this time.
    pub head_deadline: Duration,
    /// A connection without a request is closed after this time.
    pub keep_alive: Duration,
    /// Connections of one worker thread.
    pub connections_per_worker: usize,
    /// Handshakes going on.
    pub half_open: HalfOpenLimits,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            handshake_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connections_per_worker: 25_000,
            half_open: HalfOpenLimits::default(),
        }
    }
}

/// A bound socket and what is spoken on it.
pub enum Endpoint {
    /// HTTP.
    Plain(TcpListener),
    /// HTTPS with an optional client certificate.
    Tls(TcpListener, Arc<TlsSource>),
}

/// A server that answers on its endpoints.
pub struct RunningServer {
    handle: ServerHandle,
    traffic: Arc<Traffic>,
}

impl RunningServer {
    /// Starts worker threads that answer with `router`.
    ///
    /// # Errors
    /// When a socket cannot be handed to the workers.
    pub fn start<S: Send + Sync + 'static>(
        endpoints: Vec<Endpoint>,
        router: Arc<Router<S>>,
        workers: usize,
        limits: ConnectionLimits,
    ) -> io::Result<Self> {
        let half_open = Arc::new(HalfOpen::new(limits.half_open));
        let mut builder = Server::build()
            .workers(workers.clamp(1, 512))
            .max_concurrent_connections(limits.connections_per_worker)
            .disable_signals()
            .shutdown_timeout(CLOSING_SECONDS);
        let stopping = builder.graceful_shutdown_signal();
        for endpoint in endpoints {
            let (router, stopping) = (Arc::clone(&router), stopping.clone());
            builder = match endpoint {
                Endpoint::Plain(socket) => builder.listen("http", socket, move || {
                    http_service::plain(Arc::clone(&router), limits, stopping.clone())
                })?,
                Endpoint::Tls(socket, tls) => {
                    let half_open = Arc::clone(&half_open);
                    builder.listen("https", socket, move || {
                        let entrance = http_service::Entrance {
                            tls: Arc::clone(&tls),
                            half_open: Arc::clone(&half_open),
                            deadline: limits.handshake_deadline,
                        };
                        http_service::tls(entrance, Arc::clone(&router), limits, stopping.clone())
                    })?
                }
            };
        }
        let server = builder.run();
        let handle = server.handle();
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(target: "keylime.web", %error, "the web server ended");
            }
        });
        Ok(Self { handle, traffic: Arc::clone(router.traffic()) })
    }

    /// Lets no request in any more and those that are being answered finish, for at most `patience`. Worker threads go on
    /// until [`RunningServer::stop`]: connections to the database that they have opened die with them.
    pub async fn drain(&self, patience: Duration) {
        if !self.traffic.drain(patience).await {
            tracing::warn!(target: "keylime.web", "requests are still being answered after the drain timeout");
        }
    }

    /// Closes sockets and connections and ends the worker threads.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}
