//! One connection to RabbitMQ with one channel in confirm mode, opened when it is needed and dropped when it fails.

use super::routing::EXCHANGE;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use std::time::Duration;
use tokio::sync::Mutex;

/// Connection and channel; whoever finds them broken discards them, and the next caller opens new ones.
pub(super) struct BrokerConnection {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    open: Mutex<Option<Open>>,
    opened: std::sync::atomic::AtomicU64,
}

struct Open {
    generation: u64,
    connection: Connection,
    channel: Channel,
}

impl BrokerConnection {
    pub(super) fn new(uri: AMQPUri, ca_pem: Option<String>, identity: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let identity = identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
        Self {
            uri,
            tls: OwnedTLSConfig { identity, cert_chain: ca_pem },
            open: Mutex::new(None),
            opened: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// The channel, and the generation to discard it by. Only one caller opens; the others wait for it.
    pub(super) async fn channel(&self) -> Result<(u64, Channel), String> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| open.connection.status().connected()) {
            return Ok((open.generation, open.channel.clone()));
        }
        *open = None;
        let fresh = tokio::time::timeout(OPEN_TIMEOUT, self.connect())
            .await
            .map_err(|_| format!("broker did not answer within {} s", OPEN_TIMEOUT.as_secs()))??;
        let answer = (fresh.generation, fresh.channel.clone());
        *open = Some(fresh);
        Ok(answer)
    }

    /// Drops the connection of this generation; a newer one stays.
    pub(super) async fn discard(&self, generation: u64) {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|open| open.generation == generation) {
            *open = None;
        }
    }

    async fn connect(&self) -> Result<Open, String> {
        let text = |error: lapin::Error| error.to_string();
        let runtime = lapin::runtime::default_runtime().map_err(text)?;
        let properties = ConnectionProperties::default().with_connection_name("keylime-verifier revocations".into());
        let connection = Connection::connect_uri_with_config(self.uri.clone(), properties, self.tls.clone(), runtime)
            .await
            .map_err(text)?;
        let channel = connection.create_channel().await.map_err(text)?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await
            .map_err(text)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(text)?;
        let generation = self.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        tracing::info!(target: "keylime.revocation", generation, "connected to the broker");
        Ok(Open { generation, connection, channel })
    }
}

/// Longest time to connect, negotiate and declare.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
