//! An HTTPS server that keeps what is posted to it.

use keylime_pki::tls;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Largest request kept, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// A running server. Its threads live as long as the process.
#[derive(Debug, Clone)]
pub struct WebhookSink {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl WebhookSink {
    /// Starts a server with this certificate and key (PEM files).
    ///
    /// # Errors
    /// Certificate, key or port cannot be used.
    pub fn start(port: u16, certificate: &Path, key: &Path) -> io::Result<Self> {
        keylime_pki::install_crypto_provider();
        let identity = tls::load_identity(certificate, key, None).map_err(io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(identity.certs, identity.key)
            .map_err(io::Error::other)?;
        Self::serve(port, Some(Arc::new(config)))
    }

    /// Starts a plain HTTP server on a free port.
    ///
    /// # Errors
    /// No port can be bound.
    pub fn start_plain() -> io::Result<Self> {
        Self::serve(0, None)
    }

    fn serve(port: u16, config: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let sink = Self { port: listener.local_addr()?.port(), bodies: Arc::default() };
        let bodies = Arc::clone(&sink.bodies);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, bodies) = (config.clone(), Arc::clone(&bodies));
                thread::spawn(move || accept(stream, config, &bodies));
            }
        });
        Ok(sink)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bodies received so far.
    ///
    /// # Panics
    /// A server thread panicked.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.bodies.lock().expect("no thread panics with the list").clone()
    }

    /// Waits for a body that holds `text`.
    #[must_use]
    pub fn wait_for(&self, text: &str, limit: Duration) -> Option<String> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(body) = self.bodies().into_iter().find(|b| b.contains(text)) {
                return Some(body);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

fn accept(stream: TcpStream, config: Option<Arc<ServerConfig>>, bodies: &Mutex<Vec<String>>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    match config {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            answer(&mut StreamOwned::new(connection, stream), bodies)
        }
        None => answer(&mut { stream }, bodies),
    }
}

fn answer(stream: &mut (impl Read + Write), bodies: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(body) = complete_body(&request) {
            if let Ok(mut bodies) = bodies.lock() {
                bodies.push(body);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return stream.flush();
        }
        let n = stream.read(&mut chunk)?;
        if n == 0 || request.len() > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..n]);
    }
}

fn complete_body(request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then(|| body.to_owned())
}
