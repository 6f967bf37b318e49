//! One connection to RabbitMQ with one channel in confirm mode, opened when it is needed and dropped when it fails.

use super::routing::EXCHANGE;
use keylime_pki::tls::Identity;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
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
    pub(super) fn new(uri: AMQPUri, authorities: &[CertificateDer<'_>], identity: Option<&Identity>) -> Self {
        let identity = identity.map(|identity| OwnedIdentity::PKCS8 {
            pem: certificates_pem(&identity.certs).into_bytes(),
            key: key_pem(&identity.key).into_bytes(),
        });
        Self {
            uri,
            tls: OwnedTLSConfig { identity, cert_chain: Some(certificates_pem(authorities)) },
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

/// The client of the broker takes its files as text.
fn certificates_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| armour("CERTIFICATE", certificate)).collect()
}

fn key_pem(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        // Everything else is PKCS #8, which says itself what it is.
        _ => "PRIVATE KEY",
    };
    armour(label, key.secret_der())
}

fn armour(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::pem::PemObject as _;

    #[test]
    fn what_is_armoured_is_read_back() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![0xA5; length];
            let text = certificates_pem(&[CertificateDer::from(der.clone())]).repeat(2);
            let read: Vec<CertificateDer<'_>> =
                CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
            assert!(read.len() == 2 && read.iter().all(|certificate| certificate.as_ref() == der), "{length}");
        }
        let key = PrivateKeyDer::Sec1(vec![7; 100].into());
        assert_eq!(PrivateKeyDer::from_pem_slice(key_pem(&key).as_bytes()).unwrap(), key);
    }
}
