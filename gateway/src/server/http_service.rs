//! From an accepted socket to requests: handshake, HTTP/1.1, router.

use super::{ConnectionFacts, ConnectionLimits, HalfOpen, TlsSource};
use crate::routing::Router;
use actix_http::{HttpService, KeepAlive};
use actix_rt::net::TcpStream;
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, HttpRequest, web};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time a client gets to take note that a connection ends.
const DISCONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What a TLS handshake needs.
#[derive(Clone)]
pub(super) struct Entrance {
    pub tls: Arc<TlsSource>,
    pub half_open: Arc<HalfOpen>,
    pub deadline: Duration,
}

/// A connection that has ended before or while HTTP was spoken; logged where it happened.
#[derive(Debug)]
pub(super) struct Ended;

macro_rules! http {
    ($stream:ty, $facts:path, $router:expr, $limits:expr, $stopping:expr) => {{
        let (router, limits, stopping) = ($router, $limits, $stopping);
        let app = App::new().default_service(web::to(move |request: HttpRequest, payload: web::Payload| {
            let router = Arc::clone(&router);
            async move { router.answer(request, payload).await }
        }));
        let app = map_config(app.into_factory(), |()| AppConfig::default());
        HttpService::<$stream, _, _>::build()
            .keep_alive(KeepAlive::Timeout(limits.keep_alive))
            .client_request_timeout(limits.head_deadline)
            .client_disconnect_timeout(DISCONNECT_DEADLINE)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|stream: &$stream, extensions| {
                extensions.insert($facts(stream));
            })
            .h1(app)
            .map_err(|error| {
                tracing::debug!(target: "keylime.web", %error, "connection ended");
                Ended
            })
            .map_init_err(|_| ())
    }};
}

/// Serves HTTP on an accepted socket.
pub(super) fn plain<S: Send + Sync + 'static>(
    router: Arc<Router<S>>,
    limits: ConnectionLimits,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Ended, InitError = ()> {
    let accept = fn_service(|stream: TcpStream| async move {
        let peer = stream.peer_addr().ok();
        at_once(&stream);
        Ok::<_, Ended>((stream, peer))
    });
    accept.map_init_err(|_: ()| ()).and_then(http!(TcpStream, ConnectionFacts::of_plain, router, limits, stopping))
}

/// Serves HTTPS on an accepted socket.
pub(super) fn tls<S: Send + Sync + 'static>(
    entrance: Entrance,
    router: Arc<Router<S>>,
    limits: ConnectionLimits,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Ended, InitError = ()> {
    let accept = fn_service(move |stream: TcpStream| {
        let entrance = entrance.clone();
        async move { entrance.handshake(stream).await }
    });
    accept.map_init_err(|_: ()| ()).and_then(http!(
        TlsStream<TcpStream>,
        ConnectionFacts::of_tls,
        router,
        limits,
        stopping
    ))
}

/// Has the kernel send what is written at once: otherwise the second part of an answer waits until the client, which delays
/// its acknowledgements by 40 ms, has confirmed the first. The HTTP service sets this only for sockets that it accepts itself.
fn at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: "keylime.web", %error, "answers may be delayed by the kernel");
    }
}

impl Entrance {
    async fn handshake(self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Option<SocketAddr>), Ended> {
        let peer = stream.peer_addr().ok();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        at_once(&stream);
        let mut place = self.half_open.enter(address);
        let handshake = TlsAcceptor::from(self.tls.current()).accept(stream);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(self.deadline, handshake) => {
                outcome.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "handshake not complete in time")))
            }
            () = place.displaced() => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "too many handshakes are going on"))
            }
        };
        match outcome {
            Ok(stream) => Ok((stream, peer)),
            Err(error) => {
                metrics::counter!("keylime_handshakes_failed").increment(1);
                tracing::debug!(target: "keylime.web", peer = %address, %error, "tls handshake failed");
                Err(Ended)
            }
        }
    }
}
