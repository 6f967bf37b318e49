//! Revocations on a real RabbitMQ, from rows in a real database: nothing lost, whatever is killed; unroutable notices stay.

use futures_util::StreamExt as _;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{
    AgentProgress, AgentRecord, ExplanationChange, NewBootPolicy, NewRuntimePolicy, OutboxRow, PolicyChoice,
    VerifierStore, VerifierWrite, WriteOutcome,
};
use keylime_actors::revocation::amqp::{Amqp, AmqpOptions};
use keylime_actors::revocation::{Notifier, NotifierState, PublisherOptions, RevocationHandle, RevocationPublisher};
use keylime_engine::ids::AgentId;
use keylime_harness::rabbitmq::RabbitMq;
use keylime_schema::database::{Database, DatabaseUrl, OpenOptions, PoolSize, SchemaChange, Service, SqliteLocation};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer, ExchangeKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const EXCHANGE: &str = "keylime.revocations";

/// A consumer with a durable queue, as a service has one that must not miss a revocation.
struct Queue {
    _connection: Connection,
    consumer: Consumer,
}

struct Received {
    routing_key: String,
    message_id: String,
    content_type: String,
    persistent: bool,
    headers: FieldTable,
    body: String,
}

impl Queue {
    async fn bind(url: &str, name: &str, pattern: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, exchange, FieldTable::default()).await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, FieldTable::default()).await.unwrap();
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(name.into(), EXCHANGE.into(), pattern.into(), options, table).await.unwrap();
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name.into(), "".into(), options, FieldTable::default()).await.unwrap();
        Self { _connection: connection, consumer }
    }

    async fn next(&mut self, limit: Duration) -> Option<Received> {
        let delivery = tokio::time::timeout(limit, self.consumer.next()).await.ok()??.ok()?;
        delivery.ack(BasicAckOptions::default()).await.ok()?;
        let properties = &delivery.properties;
        Some(Received {
            routing_key: delivery.routing_key.to_string(),
            message_id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
            content_type: properties.content_type().as_ref().map(ToString::to_string).unwrap_or_default(),
            persistent: *properties.delivery_mode() == Some(2),
            headers: properties.headers().clone().unwrap_or_default(),
            body: String::from_utf8(delivery.data).unwrap(),
        })
    }

    /// Reads until `count` different message ids have come; answers them and how many messages there were.
    async fn distinct(&mut self, count: usize, limit: Duration) -> (BTreeSet<String>, usize) {
        let (start, mut ids, mut messages) = (Instant::now(), BTreeSet::new(), 0);
        while ids.len() < count {
            let Some(left) = limit.checked_sub(start.elapsed()) else { break };
            let Some(message) = self.next(left).await else { break };
            ids.insert(message.message_id);
            messages += 1;
        }
        (ids, messages)
    }
}

/// A database in a file, as the verifier has it by default.
async fn database(directory: &TempDir) -> Arc<SqlVerifierStore> {
    let options = OpenOptions {
        url: DatabaseUrl::Sqlite(SqliteLocation::File(directory.path().join("cv_data.sqlite"))),
        pool: PoolSize::DEFAULT,
        service: Service::Verifier,
        schema_change: SchemaChange::Allowed,
    };
    Arc::new(SqlVerifierStore::new(Database::open(&options).await.unwrap()))
}

fn record(agent_id: &str) -> AgentRecord {
    AgentRecord {
        ip: Some("127.0.0.1".to_owned()),
        port: Some(9002),
        operational_state: Some(3),
        supported_version: "2.5".to_owned(),
        ..AgentRecord::fresh(AgentId::parse(agent_id).unwrap())
    }
}

fn progress(agent_id: &str) -> AgentProgress {
    AgentProgress {
        agent_id: AgentId::parse(agent_id).unwrap(),
        operational_state: Some(9),
        public_key: "".into(),
        hash_alg: "".into(),
        enc_alg: "".into(),
        sign_alg: "".into(),
        supported_version: "2.5".into(),
        boottime: 0,
        ima_pcrs: Vec::new(),
        pcr10: None,
        next_ima_ml_entry: 0,
        learned_ima_keyrings: Value::Null,
        severity_level: Some(6),
        last_event_id: None,
        attestation_count: 1,
        last_received_quote: 0,
        last_successful_attestation: 0,
        tpm_clockinfo: None,
        accept_attestations: true,
        consecutive_attestation_failures: 0,
        explanations: ExplanationChange::Keep,
    }
}

async fn enrol(store: &SqlVerifierStore, agents: &[String]) {
    let runtime = |name: &str| NewRuntimePolicy {
        name: name.to_owned(),
        text: None,
        checksum: String::new(),
        generator: 0,
        tpm_policy: None,
    };
    for chunk in agents.chunks(500) {
        let enrolments = chunk.iter().map(|id| VerifierWrite::Enrol {
            agent: Box::new(record(id)),
            runtime_policy: PolicyChoice::StoredOrNew(runtime("shared")),
            boot_policy: PolicyChoice::StoredOrNew(NewBootPolicy { name: "shared".to_owned(), text: None }),
        });
        for outcome in store.write(enrolments.collect()).await.unwrap() {
            assert!(matches!(outcome, WriteOutcome::Enrolled { .. }), "{outcome:?}");
        }
    }
}

/// Commits notices about the agents, together with their new state.
async fn fail(store: &SqlVerifierStore, agents: &[String], kind: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for chunk in agents.chunks(500) {
        let rows = chunk.iter().map(|agent| {
            let id = Uuid::new_v4();
            ids.insert(id.to_string());
            let row = OutboxRow {
                id,
                agent_id: AgentId::parse(agent).unwrap(),
                kind: kind.to_owned(),
                severity_label: "emergency".to_owned(),
                body: format!("{{\"msg\": \"{agent}\", \"signature\": \"\"}}"),
                created_us: 1_700_000_000_000_000,
                pending: vec!["amqp".to_owned()],
            };
            VerifierWrite::Progress { progress: Box::new(progress(agent)), outbox: vec![row] }
        });
        store.write(rows.collect()).await.unwrap();
    }
    ids
}

fn fleet(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("agent-{n}.example.org")).collect()
}

fn publisher(store: &Arc<SqlVerifierStore>, url: &str) -> RevocationHandle {
    let options = AmqpOptions { confirm_timeout: Duration::from_secs(5), ..AmqpOptions::new(url, "default") };
    let amqp: Arc<dyn Notifier> = Arc::new(Amqp::new(options).unwrap());
    let period = PublisherOptions { period: Duration::from_millis(200) };
    RevocationPublisher::start(Arc::clone(store) as _, vec![amqp], period).unwrap()
}

async fn until_empty(store: &SqlVerifierStore, limit: Duration) {
    let start = Instant::now();
    while !store.outbox_pending(1).await.unwrap().is_empty() {
        assert!(start.elapsed() < limit, "notices are left in the outbox");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_notice_carries_what_consumers_need(url: &str) {
    let directory = tempfile::tempdir().unwrap();
    let store = database(&directory).await;
    let agents = fleet(1);
    enrol(&store, &agents).await;
    let mut queue = Queue::bind(url, "one", "revocation.emergency.*").await;
    let ids = fail(&store, &agents, "revocation").await;
    let handle = publisher(&store, url);
    let message = queue.next(Duration::from_secs(20)).await.unwrap();
    assert_eq!(message.routing_key, "revocation.emergency.agent-0%2Eexample%2Eorg");
    assert_eq!(ids, BTreeSet::from([message.message_id.clone()]));
    assert_eq!(message.content_type, "application/json");
    assert!(message.persistent);
    assert_eq!(message.body, "{\"msg\": \"agent-0.example.org\", \"signature\": \"\"}");
    let header = |name: &str| match message.headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(header("cloudEvents:id"), message.message_id);
    assert_eq!(header("cloudEvents:source"), "/keylime/verifier/default");
    assert_eq!(header("cloudEvents:subject"), "agent-0.example.org");
    until_empty(&store, Duration::from_secs(10)).await;
    handle.shutdown(Duration::from_secs(5)).await;
}

async fn ten_thousand_failures_are_confirmed_once(url: &str) {
    let directory = tempfile::tempdir().unwrap();
    let store = database(&directory).await;
    let agents = fleet(10_000);
    enrol(&store, &agents).await;
    let mut queue = Queue::bind(url, "storm", "revocation.#").await;
    let ids = fail(&store, &agents, "revocation").await;
    let start = Instant::now();
    let handle = publisher(&store, url);
    let (received, messages) = queue.distinct(10_000, Duration::from_secs(60)).await;
    let elapsed = start.elapsed();
    assert_eq!(received.len(), 10_000, "after {elapsed:?}: {:?}", handle.health());
    assert!(received == ids, "other notices than those committed");
    assert_eq!(messages, 10_000, "nothing is doubled");
    until_empty(&store, Duration::from_secs(10)).await;
    println!("10000 notices published, confirmed and consumed in {elapsed:?}");
    handle.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_gets_every_notice() {
    let broker = tokio::task::spawn_blocking(RabbitMq::start).await.unwrap().unwrap();
    a_notice_carries_what_consumers_need(&broker.url()).await;
    ten_thousand_failures_are_confirmed_once(&broker.url()).await;
}

async fn an_unroutable_notice_stays_and_alarms(url: &str) {
    let directory = tempfile::tempdir().unwrap();
    let store = database(&directory).await;
    let agents = fleet(2);
    enrol(&store, &agents).await;
    let mut revocations = Queue::bind(url, "revocations", "revocation.#").await;
    let unroutable = fail(&store, &agents[..1], "comm_error").await;
    let routable = fail(&store, &agents[1..], "revocation").await;
    let handle = publisher(&store, url);
    let (received, _) = revocations.distinct(1, Duration::from_secs(20)).await;
    assert_eq!(received, routable, "the unroutable one holds up no other agent's");
    let start = Instant::now();
    while handle.health()[0].parked == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no alarm");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The delivered one is marked in a moment; the other stays.
    let start = Instant::now();
    while store.outbox_pending(10).await.unwrap().len() > 1 {
        assert!(start.elapsed() < Duration::from_secs(10), "a confirmed notice is not marked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.outbox_pending(10).await.unwrap().len(), 1);
    let mut errors = Queue::bind(url, "errors", "comm_error.#").await;
    let (received, _) = errors.distinct(1, Duration::from_secs(20)).await;
    assert_eq!(received, unroutable, "it goes out as soon as somebody listens");
    until_empty(&store, Duration::from_secs(10)).await;
    assert_eq!(handle.health()[0].parked, 0);
    handle.shutdown(Duration::from_secs(5)).await;
}

async fn a_broker_that_dies_loses_nothing(broker: &mut RabbitMq) {
    let directory = tempfile::tempdir().unwrap();
    let store = database(&directory).await;
    let agents = fleet(3000);
    enrol(&store, &agents).await;
    drop(Queue::bind(&broker.url(), "durable", "revocation.#").await);
    let handle = publisher(&store, &broker.url());
    let mut ids = fail(&store, &agents[..1500], "revocation").await;
    handle.poke();
    // Killed while messages are under way.
    let start = Instant::now();
    while store.outbox_pending(5000).await.unwrap().len() > 1400 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is published");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    broker.kill();
    ids.extend(fail(&store, &agents[1500..], "revocation").await);
    handle.poke();
    let start = Instant::now();
    while handle.health()[0].state == NotifierState::Up {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.start_node().unwrap();
    let mut queue = Queue::bind(&broker.url(), "durable", "revocation.#").await;
    let (received, messages) = queue.distinct(3000, Duration::from_secs(90)).await;
    assert_eq!(received.len(), ids.len(), "{:?}", handle.health());
    assert!(received == ids, "other notices than those committed");
    println!("3000 notices over a killed broker, {} doubled", messages - 3000);
    until_empty(&store, Duration::from_secs(60)).await;
    handle.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_may_refuse_and_die() {
    let mut broker = tokio::task::spawn_blocking(RabbitMq::start).await.unwrap().unwrap();
    an_unroutable_notice_stays_and_alarms(&broker.url()).await;
    a_broker_that_dies_loses_nothing(&mut broker).await;
}
