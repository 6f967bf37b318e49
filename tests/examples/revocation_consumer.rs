//! A service that acts on revocations: `cargo run --example revocation_consumer -- amqp://user:password@host/vhost QUEUE [COUNT]`.
//!
//! It keeps a durable queue of its own, so that nothing is missed while it is away, acknowledges a message after acting on it,
//! and drops doubles by message id: delivery is at least once.

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use std::collections::HashSet;
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(queue)) = (arguments.next(), arguments.next()) else {
        return Err("usage: revocation_consumer AMQP-URL QUEUE [COUNT]".into());
    };
    let count: usize = arguments.next().map_or(Ok(usize::MAX), |text| text.parse())?;

    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable_exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel
        .exchange_declare("keylime.revocations".into(), ExchangeKind::Topic, durable_exchange, FieldTable::default())
        .await?;
    let durable_queue = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.as_str().into(), durable_queue, FieldTable::default()).await?;
    // Every revocation of every severity; `comm_error.#` would bring agents that cannot be reached.
    channel
        .queue_bind(
            queue.as_str().into(),
            "keylime.revocations".into(),
            "revocation.#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    println!("ready");

    let mut deliveries = channel
        .basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    let mut seen = HashSet::new();
    while seen.len() < count
        && let Some(delivery) = deliveries.next().await
    {
        let delivery = delivery?;
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        if seen.insert(id) {
            let outer: serde_json::Value = serde_json::from_slice(&delivery.data)?;
            let message: serde_json::Value = serde_json::from_str(outer["msg"].as_str().unwrap_or("null"))?;
            println!("agent {} failed: {} ({})", message["agent_id"], message["event_id"], message["severity_label"]);
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
