//! A subscriber of the revocations on RabbitMQ, as a user's service would be one.

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// One received message.
#[derive(Debug, Clone)]
pub struct Received {
    /// `<type>.<severity>.<agent id>`.
    pub routing_key: String,
    /// Same for every delivery of the same revocation.
    pub message_id: String,
    /// Keylime's signed message.
    pub body: String,
    /// When it arrived.
    pub at: Instant,
}

/// A queue of its own, bound to every revocation.
#[derive(Debug)]
pub struct Subscriber {
    messages: Receiver<Received>,
}

impl Subscriber {
    /// Connects, binds an exclusive queue and returns when it is bound.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn start(url: &str) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel();
        let (ready, bound) = mpsc::channel();
        let url = url.to_owned();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = match runtime {
                Ok(runtime) => runtime.block_on(consume(&url, &sender, &ready)),
                Err(e) => Err(e.to_string()),
            };
            if let Err(e) = result {
                let _ = ready.send(Err(e));
            }
        });
        match bound.recv_timeout(Duration::from_secs(30)) {
            Ok(Ok(())) => Ok(Self { messages }),
            Ok(Err(e)) => Err(io::Error::other(format!("cannot subscribe: {e}"))),
            Err(e) => Err(io::Error::other(format!("cannot subscribe: {e}"))),
        }
    }

    /// The next message.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Received> {
        self.messages.recv_timeout(limit).ok()
    }

    /// Waits for a body that holds `text`.
    #[must_use]
    pub fn wait_for(&self, text: &str, limit: Duration) -> Option<String> {
        let start = Instant::now();
        while let Some(left) = limit.checked_sub(start.elapsed()) {
            let message = self.next(left)?;
            if message.body.contains(text) {
                return Some(message.body);
            }
        }
        None
    }
}

async fn consume(url: &str, sender: &Sender<Received>, ready: &Sender<Result<(), String>>) -> Result<(), String> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.map_err(|e| e.to_string())?;
    let channel = connection.create_channel().await.map_err(|e| e.to_string())?;
    let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare("keylime.revocations".into(), ExchangeKind::Topic, exchange, FieldTable::default())
        .await
        .map_err(|e| e.to_string())?;
    let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.map_err(|e| e.to_string())?;
    channel
        .queue_bind(
            queue.name().clone(),
            "keylime.revocations".into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(|e| e.to_string())?;
    let mut deliveries = channel
        .basic_consume(queue.name().clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .map_err(|e| e.to_string())?;
    let _ = ready.send(Ok(()));
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery.map_err(|e| e.to_string())?;
        let received = Received {
            routing_key: delivery.routing_key.to_string(),
            message_id: delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
            body: String::from_utf8_lossy(&delivery.data).into_owned(),
            at: Instant::now(),
        };
        if sender.send(received).is_err() {
            return Ok(());
        }
        delivery.ack(BasicAckOptions::default()).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}
