//! Serves a revocation list over HTTP: one file, read again for each request, to anyone who asks.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tracing::{debug, info};

const FILE_NAME: &str = "cacrl.der";
/// Longest request head that is read, in bytes.
const MAX_HEAD_BYTES: u64 = 8 << 10;
/// Most requests answered at once; further clients are disconnected.
const MAX_CLIENTS: usize = 64;

/// Why the list cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// `cert_crl_dist` is no address to listen at.
    #[error("cert_crl_dist is not an HTTP address with a port: {0}")]
    Address(String),
    /// The port cannot be listened at.
    #[error("cannot serve the revocation list: {0}")]
    Io(#[from] io::Error),
}

/// Serves the list of a directory on the port of a URL until the process is ended.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(directory: &Path, url: &str, timeout: Duration) -> Result<(), ServeError> {
    let port = port(url).ok_or_else(|| ServeError::Address(url.to_owned()))?;
    let listener = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port))?;
    info!(target: "keylime.ca-util", "Hosting CRL on {url}");
    accept(&listener, directory, timeout);
    Ok(())
}

fn accept(listener: &TcpListener, directory: &Path, timeout: Duration) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (clients, file) = (Arc::clone(&clients), directory.join(FILE_NAME));
        thread::spawn(move || {
            if let Err(problem) = answer(stream, &file, timeout) {
                debug!(target: "keylime.ca-util", "a client of the revocation list went away: {problem}");
            }
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Answers one request; whatever path it asks for, there is only one document.
fn answer(mut stream: TcpStream, file: &Path, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut head = Vec::new();
    let mut reader = stream.try_clone()?.take(MAX_HEAD_BYTES);
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = reader.read(&mut chunk)?;
        if length == 0 {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        head.extend_from_slice(&chunk[..length]);
    }
    if !head.starts_with(b"GET ") {
        let refusal = "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes());
    }
    let Ok(list) = std::fs::read(file) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        list.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&list)
}

/// The port of an HTTP URL.
fn port(url: &str) -> Option<u16> {
    let authority = url.strip_prefix("http://")?.split('/').next()?;
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
        _ => Some(80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(address: std::net::SocketAddr, text: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        reply
    }

    #[test]
    fn serves_the_list_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let path = directory.path().to_owned();
        thread::spawn(move || accept(&listener, &path, Duration::from_secs(5)));
        assert!(request(address, b"GET /crl HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 404 "));
        std::fs::write(directory.path().join(FILE_NAME), b"list").unwrap();
        let reply = request(address, b"GET /../private.yml HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(reply.starts_with(b"HTTP/1.1 200 ") && reply.ends_with(b"\r\n\r\nlist"));
        assert!(request(address, b"POST /crl HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 405 "));
        assert!(request(address, b"GET").starts_with(b"HTTP/1.1 400 "));
    }

    #[test]
    fn ports_come_from_the_address_in_certificates() {
        assert_eq!(port("http://localhost:38080/crl"), Some(38080));
        assert_eq!(port("http://[::1]:81/crl"), Some(81));
        assert_eq!(port("http://host/crl"), Some(80));
        assert_eq!(port("ldap://host"), None);
        assert_eq!(port("http://host:x/"), None);
    }
}
