//! What is known of a connection, whatever is asked on it.

use actix_rt::net::TcpStream;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::server::TlsStream;

/// Facts about a connection that are fixed when it is opened.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFacts {
    /// TLS is spoken.
    pub secure: bool,
    /// Address of the client.
    pub peer: Option<SocketAddr>,
    /// First common name of the client certificate; the TLS layer has verified the certificate.
    pub common_name: Option<Arc<str>>,
}

impl ConnectionFacts {
    pub(super) fn of_plain(stream: &TcpStream) -> Self {
        Self { secure: false, peer: stream.peer_addr().ok(), common_name: None }
    }

    pub(super) fn of_tls(stream: &TlsStream<TcpStream>) -> Self {
        let (socket, session) = stream.get_ref();
        // Certificates are here only after the verifier of the TLS configuration has accepted them.
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let common_name = leaf.and_then(|leaf| keylime_pki::tls::common_name(leaf)).filter(|name| !name.is_empty());
        Self { secure: true, peer: socket.peer_addr().ok(), common_name: common_name.map(Arc::from) }
    }
}
