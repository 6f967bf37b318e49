//! A server on ports of its own, in a thread of its own.

use super::certificates::{Client, Pki};
use super::client::{self, Answer};
use keylime_gateway::authorization::{Gate, NoSessions, SimpleProvider, Tokens};
use keylime_gateway::routing::{Route, Router, RouterLimits};
use keylime_gateway::server::{ConnectionLimits, Endpoint, RunningServer, TlsSource, bind};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

pub struct TestServer {
    pub pki: Pki,
    pub http: SocketAddr,
    pub https: SocketAddr,
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<()>>,
}

/// Bounds that differ from test to test.
pub struct Bounds {
    pub connections: ConnectionLimits,
    pub requests: RouterLimits,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits::default(),
            requests: RouterLimits { max_upload_size: 1 << 20, body_deadline: Duration::from_secs(5) },
        }
    }
}

impl TestServer {
    pub fn start<S: Send + Sync + 'static>(routes: Vec<Route<S>>, state: S, bounds: Bounds) -> Self {
        Self::start_with(routes, move || state, bounds)
    }

    /// As `start`, with a gate that knows these tokens.
    pub fn start_guarded<S: Send + Sync + 'static>(
        routes: Vec<Route<S>>,
        state: S,
        tokens: Arc<dyn Tokens>,
        bounds: Bounds,
    ) -> Self {
        Self::serve(routes, move || state, tokens, bounds)
    }

    /// As `start`, with a state that is made where actors can be started.
    pub fn start_with<S: Send + Sync + 'static>(
        routes: Vec<Route<S>>,
        state: impl FnOnce() -> S + Send + 'static,
        bounds: Bounds,
    ) -> Self {
        Self::serve(routes, state, Arc::new(NoSessions), bounds)
    }

    fn serve<S: Send + Sync + 'static>(
        routes: Vec<Route<S>>,
        state: impl FnOnce() -> S + Send + 'static,
        tokens: Arc<dyn Tokens>,
        bounds: Bounds,
    ) -> Self {
        let pki = Pki::new();
        let tls = Arc::new(TlsSource::new(pki.server()));
        let plain = bind("127.0.0.1", 0).unwrap();
        let secure = bind("127.0.0.1", 0).unwrap();
        let (http, https) = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        let gate = Gate::new(Arc::new(SimpleProvider), tokens);
        let (stop, stopped) = oneshot::channel();
        let (ready, wait) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let router = Arc::new(Router::new(routes, gate, Arc::new(state()), bounds.requests));
                let endpoints = vec![Endpoint::Plain(plain), Endpoint::Tls(secure, tls)];
                let server = RunningServer::start(endpoints, router, 2, bounds.connections).unwrap();
                ready.send(()).unwrap();
                let patience = stopped.await.unwrap_or(Duration::ZERO);
                server.drain(patience).await;
                server.stop().await;
            });
        });
        wait.recv().unwrap();
        Self { pki, http, https, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks over HTTPS.
    pub fn ask(&self, client: Client, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_ask(client, method, path, headers, body).unwrap()
    }

    /// Asks over HTTPS; the handshake may fail.
    pub fn try_ask(
        &self,
        client: Client,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut wire = client::secure(self.https, self.pki.client(client))?;
        client::exchange(&mut wire, &client::request(method, path, headers, body))
    }

    /// Asks over HTTP.
    pub fn ask_plain(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        client::exchange(&mut client::plain(self.http), &client::request(method, path, headers, body)).unwrap()
    }

    /// Begins to stop; `join` waits for the end.
    pub fn begin_drain(&mut self, patience: Duration) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(patience);
        }
    }

    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.begin_drain(Duration::from_millis(100));
        self.join();
    }
}
