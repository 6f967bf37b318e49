//! A client with one kept-alive connection to a server.

use super::FleetError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

/// A server.
#[derive(Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// How TLS is spoken to it; `None` for plain HTTP.
    pub tls: Option<TlsConnector>,
}

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// HTTP status.
    pub status: u16,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// How often an answer of "busy" is followed by another attempt.
const PATIENCE: usize = 30;
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// A client with one kept-alive connection.
pub struct RestClient {
    target: Target,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl RestClient {
    /// A client that connects when first used.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, connection: None }
    }

    /// Sends a request with a JSON body (or none, when empty); answers the body of an answer with a code of success.
    ///
    /// # Errors
    /// The connection breaks, or the answer has another code.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, FleetError> {
        for _ in 0..PATIENCE {
            match self.attempt(&method, path, body.clone()).await {
                // Too much to do just now: what every client does is wait as long as it is told.
                Err(FleetError::Answer { status: 503, .. }) => sleep(BUSY_PAUSE).await,
                answer => return answer,
            }
        }
        self.attempt(&method, path, body).await
    }

    async fn attempt(&mut self, method: &Method, path: &str, body: Bytes) -> Result<Value, FleetError> {
        let mut request =
            Request::builder().method(method.clone()).uri(path).header("host", self.target.address.to_string());
        if !body.is_empty() {
            // The reference refuses a body of nothing as malformed JSON.
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|e| FleetError::Setup(format!("request {path}: {e}")))?;
        let response = self.ready().await?.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(refusal(method, path, status, &body));
        }
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Sends a JSON:API document, with a bearer token if there is one.
    ///
    /// # Errors
    /// The connection breaks; an answer of any status is no error.
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Exchange, FleetError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.target.address.to_string())
            .header("content-type", "application/vnd.api+json")
            .header("accept", "application/vnd.api+json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|e| FleetError::Setup(format!("request {path}: {e}")))?;
        let response = self.ready().await?.send_request(request).await?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Exchange { status, location, body })
    }

    /// The connection, renewed when the server has closed it.
    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, FleetError> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.connection = None;
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, FleetError> {
        let stream = TcpStream::connect(self.target.address).await?;
        stream.set_nodelay(true)?;
        let Some(connector) = &self.target.tls else {
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let name = ServerName::IpAddress(self.target.address.ip().into());
        let stream = connector.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Exchange {
    /// The error for an answer that was not expected.
    #[must_use]
    pub fn refused(&self, method: &Method, path: &str) -> FleetError {
        refusal(method, path, StatusCode::from_u16(self.status).unwrap_or_default(), &self.body)
    }
}

fn refusal(method: &Method, path: &str, status: StatusCode, body: &[u8]) -> FleetError {
    FleetError::Answer {
        method: method.to_string(),
        path: path.to_owned(),
        status: status.as_u16(),
        body: String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned(),
    }
}
