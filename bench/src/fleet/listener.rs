//! The port at which all agents listen; the address a connection came to tells the agent.

use super::agent_number::AgentNumber;
use super::http_request::HttpRequest;
use super::population::Population;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);
/// A verifier that starts asks everybody at once.
const BACKLOG: u32 = 16_384;

/// A fleet that listens; dropping it ends it.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens on a free port of all addresses.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(population: Arc<Population>, acceptor: TlsAcceptor, idle: Duration) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, keylime_harness::ports::free())))?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();
        Ok(Self { port, task: tokio::spawn(serve(listener, population, acceptor, idle)) })
    }

    /// The agents' port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, population: Arc<Population>, acceptor: TlsAcceptor, idle: Duration) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (population, acceptor) = (Arc::clone(&population), acceptor.clone());
                tokio::spawn(async move {
                    // Verifiers break connections as they like; what matters is counted.
                    let _ = connection(stream, &population, &acceptor, idle).await;
                });
            }
            // Out of descriptors, most likely: others must close first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    population: &Population,
    acceptor: &TlsAcceptor,
    idle: Duration,
) -> io::Result<()> {
    let SocketAddr::V4(local) = stream.local_addr()? else { return Ok(()) };
    let Some(agent) = AgentNumber::at(*local.ip()) else { return Ok(()) };
    stream.set_nodelay(true)?;
    let handshake = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
    let Ok(Ok(mut stream)) = handshake else {
        population.observations.handshake_failed();
        return Ok(());
    };
    let _open = population.observations.connected();
    let mut buffer = Vec::new();
    while let Ok(request) = timeout(idle, HttpRequest::read(&mut stream, &mut buffer)).await {
        let Some(request) = request? else { break };
        stream.write_all(&population.answer(agent, &request)).await?;
        stream.flush().await?;
        if request.last {
            break;
        }
    }
    stream.shutdown().await
}
