//! ZeroMQ: a PUB socket bound to `tcp://zmq_ip:zmq_port`; each notice is one frame with the outer JSON, without topic.
//!
//! A PUB socket drops what nobody subscribes to and what a subscriber does not take in time: confirmed means handed to the
//! socket. Subscribers that must not miss a notice use RabbitMQ. The reference puts a broker in front of this endpoint; a
//! subscriber cannot tell the difference.

use super::notifier::{Delivery, Notifier};
use crate::ports::OutboxRow;
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::Mutex;
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

/// The notifier.
pub struct ZeroMq {
    endpoint: String,
    socket: Mutex<Option<PubSocket>>,
}

impl ZeroMq {
    /// Takes address and port; binds when the first notice is published. An IPv6 address needs no brackets, and `*` means
    /// every IPv4 address, as in ZeroMQ itself.
    #[must_use]
    pub fn new(ip: &str, port: u16) -> Self {
        let host = match ip {
            "*" => "0.0.0.0".to_owned(),
            ip if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]"),
            ip => ip.to_owned(),
        };
        Self { endpoint: format!("tcp://{host}:{port}"), socket: Mutex::new(None) }
    }

    /// Binds at once, so that subscribers can connect before the first notice.
    ///
    /// # Errors
    /// When the endpoint cannot be bound; the text says why.
    pub async fn bind(&self) -> Result<(), String> {
        let mut socket = self.socket.lock().await;
        if socket.is_none() {
            *socket = Some(self.bound().await?);
        }
        Ok(())
    }

    async fn bound(&self) -> Result<PubSocket, String> {
        let mut socket = PubSocket::new();
        socket.bind(&self.endpoint).await.map_err(|error| format!("{}: {error}", self.endpoint))?;
        // Subscribers of a verifier that restarts connect again within moments; without this pause they would miss the
        // notices that waited for the restart.
        tokio::time::sleep(SETTLE).await;
        Ok(socket)
    }
}

#[async_trait]
impl Notifier for ZeroMq {
    fn name(&self) -> &'static str {
        "zeromq"
    }

    fn window(&self) -> usize {
        64
    }

    async fn deliver(&self, row: &OutboxRow) -> Delivery {
        let mut socket = self.socket.lock().await;
        if socket.is_none() {
            match self.bound().await {
                Ok(bound) => *socket = Some(bound),
                Err(reason) => return Delivery::Away(reason),
            }
        }
        let Some(bound) = socket.as_mut() else { return Delivery::Away("socket is not bound".to_owned()) };
        match bound.send(ZmqMessage::from(row.body.as_str())).await {
            Ok(()) => Delivery::Confirmed,
            Err(error) => {
                *socket = None;
                Delivery::Away(error.to_string())
            }
        }
    }
}

const SETTLE: Duration = Duration::from_millis(500);
