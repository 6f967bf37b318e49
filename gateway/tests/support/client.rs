//! A client that sends exactly the bytes it is told to.

use keylime_pki::tls::{self, Identity, ServerTrust};
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection of either kind.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Opens TLS and completes the handshake, as far as the client sees it.
pub fn secure(address: SocketAddr, identity: Option<Identity>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let config = tls::client(identity, ServerTrust::All).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, plain(address));
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// A request on a connection that ends with it.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// Sends and reads the whole answer.
pub fn exchange(wire: &mut dyn Wire, request: &[u8]) -> io::Result<Answer> {
    wire.write_all(request)?;
    wire.flush()?;
    read_answer(wire)
}

/// Reads to the end of the connection.
pub fn read_answer(wire: &mut dyn Wire) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0u8; 16384];
        match wire.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            // The server closes without a TLS farewell when it is in a hurry.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => break,
            Err(error) => return Err(error),
        }
        if complete(&bytes) {
            break;
        }
    }
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no answer"))
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

fn complete(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(bytes) else { return false };
    let lower = head.to_ascii_lowercase();
    match lower.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => body.len() >= length.parse().unwrap_or(0),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let (head, body) = split(bytes)?;
    let mut lines = head.lines();
    let mut status = lines.next()?.splitn(3, ' ').skip(1);
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let chunked =
        headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked");
    let body = if chunked { dechunk(body) } else { body.to_vec() };
    Some(Answer {
        status: status.next()?.parse().ok()?,
        reason: status.next().unwrap_or_default().to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(length) = length.filter(|length| *length > 0) else { break };
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
    whole
}
