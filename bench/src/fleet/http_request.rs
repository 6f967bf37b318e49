//! Reading HTTP/1.1 requests off a kept-alive connection: as much of the protocol as verifiers use.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A request whose body was read and left aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Whether the client wants the connection closed after the answer.
    pub last: bool,
}

impl HttpRequest {
    /// Reads the next request; `None` when the client closed the connection between requests. `buffer` keeps what was read
    /// beyond the request.
    ///
    /// # Errors
    /// The connection broke, or what came is no request within the limits.
    pub async fn read<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        loop {
            if let Some(head_end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let (request, body) = parse_head(&buffer[..head_end])?;
                let end = head_end + 4 + body;
                while buffer.len() < end {
                    if stream.read_buf(buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                buffer.drain(..end);
                return Ok(Some(request));
            }
            if buffer.len() > MAX_HEAD_BYTES {
                return Err(invalid("head is too long"));
            }
            if stream.read_buf(buffer).await? == 0 {
                return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// A parameter of the query, as it stands there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The request and the length of its body.
fn parse_head(head: &[u8]) -> io::Result<(HttpRequest, usize)> {
    let head = std::str::from_utf8(head).map_err(|_| invalid("head is not text"))?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (first.next(), first.next(), first.next(), first.next())
    else {
        return Err(invalid("first line is not a request line of HTTP/1.1"));
    };
    let mut request = HttpRequest { method: method.to_owned(), target: target.to_owned(), last: false };
    let mut body = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            body = value.parse().ok().filter(|n| *n <= MAX_BODY_BYTES).ok_or_else(|| invalid("content-length"))?;
        } else if name.eq_ignore_ascii_case("connection") {
            request.last = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("transfer-encoding is not supported"));
        }
    }
    Ok((request, body))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let mut bytes: &[u8] = b"POST /v2.5/keys/vkey HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            GET /v2.5/quotes/integrity?nonce=N&mask=0x400 HTTP/1.1\r\nConnection: close\r\n\r\n";
        let mut buffer = Vec::new();
        let first = HttpRequest::read(&mut bytes, &mut buffer).await.unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path(), first.last), ("POST", "/v2.5/keys/vkey", false));
        let second = HttpRequest::read(&mut bytes, &mut buffer).await.unwrap().unwrap();
        assert_eq!((second.parameter("mask"), second.parameter("partial")), (Some("0x400"), None));
        assert!(second.last);
        assert_eq!(HttpRequest::read(&mut bytes, &mut buffer).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for bytes in ["GET /\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET", &"a".repeat(20_000)] {
            assert!(HttpRequest::read(&mut bytes.as_bytes(), &mut Vec::new()).await.is_err());
        }
    }
}
