//! Requests to agents over HTTP/1.1: one kept-alive connection per agent, one TLS configuration for all of them.
//!
//! The TLS handshake proves that the peer owns its certificate; whether it is the certificate of the agent that is meant is
//! decided afterwards, before the first byte of a request leaves.

use crate::adapters::kept_connections::KeptConnections;
use crate::ports::{AgentCall, AgentMethod, AgentReply, AgentTrust, EvidenceTransport, Unreachable};
use crate::runtime::admission::Permit;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use keylime_engine::ids::AgentId;
use keylime_pki::tls::{AgentCertificates, Identity, ServerTrust, TlsError};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection ready for a request.
pub type Sender = SendRequest<Full<Bytes>>;

/// The limits of requests to agents.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// `request_timeout`: for connecting, asking and reading the whole response together.
    pub request_timeout: Duration,
    /// Largest response body, bytes.
    pub max_response_bytes: usize,
    /// Connections kept open between requests, over all agents; beyond it connections are closed after use.
    pub max_kept_connections: usize,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_mins(1),
            max_response_bytes: 100 * 1024 * 1024,
            max_kept_connections: usize::MAX,
        }
    }
}

/// The transport.
pub struct HttpEvidenceTransport {
    options: TransportOptions,
    connector: TlsConnector,
    certificates: AgentCertificates,
    kept: Arc<KeptConnections>,
}

impl HttpEvidenceTransport {
    /// A transport that presents `identity` to agents and accepts, besides their registered certificates, those that chain
    /// to `trusted_server_ca`.
    ///
    /// # Errors
    /// The identity or an authority cannot be used.
    pub fn new(
        identity: Option<Identity>,
        trusted_server_ca: &[CertificateDer<'_>],
        options: TransportOptions,
    ) -> Result<Self, TlsError> {
        let mut config: ClientConfig = keylime_pki::tls::client(identity, ServerTrust::All)?;
        // Connections are kept instead; a shared cache would only grow with the fleet.
        config.resumption = Resumption::disabled();
        Ok(Self {
            kept: Arc::new(KeptConnections::new(options.max_kept_connections)),
            options,
            connector: TlsConnector::from(Arc::new(config)),
            certificates: AgentCertificates::new(trusted_server_ca)?,
        })
    }

    async fn exchange(&self, call: &AgentCall, opening: Option<Permit>) -> Result<AgentReply, Unreachable> {
        if let Some(sender) = self.kept.take(&call.agent_id) {
            match self.exchange_on(sender, call).await {
                // An agent may close an idle connection at any moment; that says nothing about the agent.
                Err(Unreachable::Broken(_)) => {}
                other => return other,
            }
        }
        let sender = self.open(call, opening).await?;
        self.exchange_on(sender, call).await
    }

    async fn exchange_on(&self, mut sender: Sender, call: &AgentCall) -> Result<AgentReply, Unreachable> {
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request(call)?).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = self.read_body(response).await?;
        if !sender.is_closed() {
            self.kept.keep(&call.agent_id, sender);
        }
        Ok(AgentReply::Response { status, body })
    }

    async fn read_body(&self, response: Response<Incoming>) -> Result<Bytes, Unreachable> {
        let limit = self.options.max_response_bytes;
        let mut body = response.into_body();
        let announced = body.size_hint();
        if usize::try_from(announced.lower()).map_or(true, |bytes| bytes > limit) {
            return Err(Unreachable::TooLarge(limit));
        }
        let mut whole: Option<Bytes> = None;
        let mut gathered = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            let so_far = whole.as_ref().map_or(gathered.len(), Bytes::len);
            if so_far + data.len() > limit {
                return Err(Unreachable::TooLarge(limit));
            }
            match whole.take() {
                // Most responses are one piece and need no copy.
                None if gathered.is_empty() => whole = Some(data),
                None => gathered.extend_from_slice(&data),
                Some(first) => {
                    gathered.reserve(first.len() + data.len());
                    gathered.extend_from_slice(&first);
                    gathered.extend_from_slice(&data);
                }
            }
        }
        Ok(whole.unwrap_or_else(|| gathered.freeze()))
    }

    async fn open(&self, call: &AgentCall, opening: Option<Permit>) -> Result<Sender, Unreachable> {
        let mut connecting = pin!(self.connect(call));
        match tokio::time::timeout(QUICK_OPENING, connecting.as_mut()).await {
            Ok(result) => result,
            Err(_) => {
                drop(opening);
                connecting.await
            }
        }
    }

    async fn connect(&self, call: &AgentCall) -> Result<Sender, Unreachable> {
        let endpoint = &call.endpoint;
        let stream = match endpoint.host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect(SocketAddr::new(address, endpoint.port)).await,
            Err(_) => TcpStream::connect((&*endpoint.host, endpoint.port)).await,
        };
        let stream = stream.map_err(|error| Unreachable::Connect(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| Unreachable::Connect(error.to_string()))?;
        let registered = match endpoint.trust {
            AgentTrust::Plain => return self.handshake(TokioIo::new(stream), &call.agent_id).await,
            AgentTrust::Certificate(digest) => Some(digest),
            AgentTrust::Authorities => None,
        };
        let peer = stream.peer_addr().map_err(|error| Unreachable::Connect(error.to_string()))?;
        let name =
            ServerName::try_from(endpoint.host.to_string()).unwrap_or_else(|_| ServerName::IpAddress(peer.ip().into()));
        let stream = self.connector.connect(name, stream).await.map_err(|error| Unreachable::Tls(error.to_string()))?;
        let chain = stream.get_ref().1.peer_certificates();
        self.certificates
            .check(chain, registered.as_ref(), UnixTime::now())
            .map_err(|error| Unreachable::Untrusted(format!("{error:?}")))?;
        self.handshake(TokioIo::new(stream), &call.agent_id).await
    }

    /// Starts HTTP on a connection, which serves requests until either side closes it.
    async fn handshake<T>(&self, io: TokioIo<T>, agent_id: &AgentId) -> Result<Sender, Unreachable>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER).max_headers(MAX_HEADERS);
        let (sender, connection) = builder.handshake(io).await.map_err(broken)?;
        let (kept, agent_id) = (Arc::clone(&self.kept), agent_id.clone());
        tokio::spawn(async move {
            // An error is also reported to whoever waits for a response.
            let _ = connection.await;
            kept.drop_closed(&agent_id);
        });
        Ok(sender)
    }

    /// Connections that are kept for the next requests.
    #[must_use]
    pub fn kept_connections(&self) -> usize {
        self.kept.count()
    }
}

#[async_trait]
impl EvidenceTransport for HttpEvidenceTransport {
    async fn send(&self, mut call: AgentCall) -> AgentReply {
        let opening = call.opening.take();
        match tokio::time::timeout(self.options.request_timeout, self.exchange(&call, opening)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(reason)) => AgentReply::Unreachable(reason),
            Err(_) => AgentReply::Unreachable(Unreachable::Timeout),
        }
    }

    fn is_connected(&self, agent_id: &AgentId) -> bool {
        self.kept.has(agent_id)
    }

    fn forget(&self, agent_id: &AgentId) {
        drop(self.kept.take(agent_id));
    }
}

fn request(call: &AgentCall) -> Result<Request<Full<Bytes>>, Unreachable> {
    let endpoint = &call.endpoint;
    let host = match endpoint.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{}", endpoint.port),
        Ok(IpAddr::V4(_)) | Err(_) => format!("{}:{}", endpoint.host, endpoint.port),
    };
    let builder = Request::builder()
        .uri(&*call.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json");
    let request = match &call.method {
        AgentMethod::Get => builder.method(Method::GET).body(Full::default()),
        AgentMethod::PostJson(body) => {
            builder.method(Method::POST).header(header::CONTENT_TYPE, "application/json").body(Full::new(body.clone()))
        }
    };
    request.map_err(|error| Unreachable::Connect(format!("the address cannot be asked: {error}")))
}

fn broken(error: hyper::Error) -> Unreachable {
    Unreachable::Broken(error.to_string())
}

const USER_AGENT: &str = concat!("keylime-verifier/", env!("CARGO_PKG_VERSION"));
/// Headers and pieces of a body pass through a buffer of at most this size, whatever the response.
const MAX_BUFFER: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
/// How long an agent that is there takes at most to open a connection; others do not count as being opened any more.
const QUICK_OPENING: Duration = Duration::from_secs(1);
