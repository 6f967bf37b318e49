//! RabbitMQ: persistent, mandatory messages with publisher confirms on a durable topic exchange.
//!
//! Hundreds of messages are under way at a time, each waits for its own confirm. A message that no queue is bound for comes
//! back: it stays in the outbox, is tried again, and raises an alarm, because a revocation that nobody gets is a fault of the
//! installation. The URL carries address, virtual host, credentials and, with `amqps`, TLS.

use super::broker_connection::BrokerConnection;
use super::notifier::{Delivery, Notifier};
use super::routing::{EXCHANGE, cloud_event_headers, routing_key};
use crate::ports::OutboxRow;
use async_trait::async_trait;
use keylime_pki::tls::Identity;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Confirmation};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::time::Duration;

/// Where and how to publish.
#[derive(Clone)]
pub struct AmqpOptions {
    /// `amqp_url`; holds the password.
    pub url: String,
    /// Whom the broker's certificate has to come from; with none, no broker is believed.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The certificate and key that a broker who asks for one is shown.
    pub identity: Option<Identity>,
    /// CloudEvents source: which verifier speaks.
    pub source: String,
    /// Messages under way at one time.
    pub window: usize,
    /// Longest time to wait for a confirm.
    pub confirm_timeout: Duration,
}

impl AmqpOptions {
    /// Options for a URL, with defaults for the rest.
    #[must_use]
    pub fn new(url: impl Into<String>, verifier_id: &str) -> Self {
        Self {
            url: url.into(),
            authorities: Vec::new(),
            identity: None,
            source: format!("/keylime/verifier/{verifier_id}"),
            window: 512,
            confirm_timeout: Duration::from_secs(30),
        }
    }

    /// Whether the URL asks for TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("amqps:"))
    }
}

impl fmt::Debug for AmqpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpOptions")
            .field("source", &self.source)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// `amqp_url` is not the URL of an AMQP broker. Does not repeat it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("amqp_url is not a url of the form amqp[s]://user:password@host:port/vhost: {0}")]
pub struct InvalidAmqpUrl(String);

/// The notifier.
pub struct Amqp {
    connection: BrokerConnection,
    source: String,
    window: usize,
    confirm_timeout: Duration,
}

impl Amqp {
    /// Reads the URL; connects when the first notice is published.
    ///
    /// # Errors
    /// See [`InvalidAmqpUrl`].
    pub fn new(options: AmqpOptions) -> Result<Self, InvalidAmqpUrl> {
        let uri: AMQPUri = options.url.parse().map_err(InvalidAmqpUrl)?;
        Ok(Self {
            connection: BrokerConnection::new(uri, &options.authorities, options.identity.as_ref()),
            source: options.source,
            window: options.window,
            confirm_timeout: options.confirm_timeout,
        })
    }

    fn properties(&self, row: &OutboxRow) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in cloud_event_headers(row, &self.source) {
            headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
        }
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(row.id.to_string().into())
            .with_timestamp(u64::try_from(row.created_us / 1_000_000).unwrap_or(0))
            .with_headers(headers)
    }

    async fn publish(&self, row: &OutboxRow, key: String) -> Result<Confirmation, String> {
        let (generation, channel) = self.connection.channel().await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirmed = async {
            let confirm = channel
                .basic_publish(EXCHANGE.into(), key.into(), options, row.body.as_bytes(), self.properties(row))
                .await?;
            confirm.await
        };
        let problem = match tokio::time::timeout(self.confirm_timeout, confirmed).await {
            Ok(Ok(confirmation)) => return Ok(confirmation),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no confirm within {} s", self.confirm_timeout.as_secs()),
        };
        self.connection.discard(generation).await;
        Err(problem)
    }
}

#[async_trait]
impl Notifier for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn window(&self) -> usize {
        self.window
    }

    async fn deliver(&self, row: &OutboxRow) -> Delivery {
        match self.publish(row, routing_key(row)).await {
            Ok(Confirmation::Ack(None)) => Delivery::Confirmed,
            Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
                metrics::counter!("revocation_unroutable_total").increment(1);
                Delivery::Refused(format!("no queue is bound for it ({} {})", returned.reply_code, returned.reply_text))
            }
            Ok(Confirmation::Nack(None)) => Delivery::Away("the broker refused to store a message".to_owned()),
            Ok(Confirmation::NotRequested) => Delivery::Away("the channel is not in confirm mode".to_owned()),
            Err(reason) => Delivery::Away(reason),
        }
    }
}

/// Delivery mode 2 of AMQP 0-9-1: survives a restart of the broker.
const PERSISTENT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        let error = Amqp::new(AmqpOptions::new("http://user:secret@host/", "default")).err().unwrap();
        assert!(!error.to_string().contains("secret"));
        assert!(Amqp::new(AmqpOptions::new("amqps://user:secret@host:5671/%2f", "default")).is_ok());
        assert!(!format!("{:?}", AmqpOptions::new("amqp://u:secret@h/", "v")).contains("secret"));
    }
}
