//! The outbox and its notifiers from outside: at least once, in order per agent, each notifier for itself, bounded.

#[allow(dead_code, reason = "the store serves other tests too")]
#[path = "support/memory_store.rs"]
mod memory_store;

use async_trait::async_trait;
use keylime_actors::ports::{
    AgentCall, AgentMethod, AgentProgress, AgentRecord, AgentReply, EvidenceTransport, ExplanationChange, OutboxRow,
    Unreachable, VerifierStore, VerifierWrite,
};
use keylime_actors::revocation::agent_notices::{AgentNotices, NoticeBounds};
use keylime_actors::revocation::webhook::{InvalidWebhook, Webhook, WebhookOptions};
use keylime_actors::revocation::zeromq::ZeroMq;
use keylime_actors::revocation::{
    Delivery, Notifier, NotifierState, PublisherOptions, RevocationHandle, RevocationPublisher,
};
use keylime_actors::verifier::AgentTls;
use keylime_engine::ids::AgentId;
use memory_store::MemoryStore;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;
use wiremock::matchers::{body_string_contains, method};
use wiremock::{Mock, MockServer, ResponseTemplate};
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

/// Remembers what it was given and answers as told.
struct Scripted {
    name: &'static str,
    away: AtomicBool,
    panics: AtomicUsize,
    taken: Mutex<Vec<OutboxRow>>,
    under_way: Mutex<BTreeSet<AgentId>>,
}

impl Scripted {
    fn new(name: &'static str) -> Arc<Self> {
        let (taken, under_way) = (Mutex::default(), Mutex::default());
        Arc::new(Self { name, away: AtomicBool::new(false), panics: AtomicUsize::new(0), taken, under_way })
    }

    fn bodies(&self) -> Vec<String> {
        self.taken.lock().iter().map(|row| row.body.clone()).collect()
    }
}

/// Ends with its delivery, also when that is dropped.
struct UnderWay<'a>(&'a Scripted, &'a AgentId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().remove(self.1);
    }
}

#[async_trait]
impl Notifier for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn window(&self) -> usize {
        16
    }

    async fn deliver(&self, row: &OutboxRow) -> Delivery {
        assert!(self.under_way.lock().insert(row.agent_id.clone()), "two notices about one agent at a time");
        let under_way = UnderWay(self, &row.agent_id);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(under_way);
        if self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("told to panic");
        }
        if self.away.load(Ordering::SeqCst) {
            return Delivery::Away("told to be away".to_owned());
        }
        self.taken.lock().push(row.clone());
        Delivery::Confirmed
    }
}

fn record(agent_id: &str) -> AgentRecord {
    AgentRecord {
        ip: Some("127.0.0.1".to_owned()),
        port: Some(9002),
        operational_state: Some(3),
        tpm_policy: r#"{"mask": "0x400"}"#.to_owned(),
        supported_version: "2.5".to_owned(),
        ..AgentRecord::fresh(AgentId::parse(agent_id).unwrap())
    }
}

fn progress(record: &AgentRecord) -> AgentProgress {
    AgentProgress {
        agent_id: record.agent_id.clone(),
        operational_state: Some(9),
        public_key: "".into(),
        hash_alg: "".into(),
        enc_alg: "".into(),
        sign_alg: "".into(),
        supported_version: record.supported_version.as_str().into(),
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

/// Commits a notice about an agent as the verifier would, together with the agent's new state.
async fn fail(store: &MemoryStore, agent_id: &str, body: &str, notifiers: &[&str]) {
    let agent = AgentId::parse(agent_id).unwrap();
    let record = store.row(&agent).unwrap_or_else(|| {
        store.insert(record(agent_id));
        record(agent_id)
    });
    let row = OutboxRow {
        id: Uuid::new_v4(),
        agent_id: agent,
        kind: "revocation".to_owned(),
        severity_label: "emergency".to_owned(),
        body: body.to_owned(),
        created_us: 0,
        pending: notifiers.iter().map(|name| (*name).to_owned()).collect(),
    };
    let write = VerifierWrite::Progress { progress: Box::new(progress(&record)), outbox: vec![row] };
    store.write(vec![write]).await.unwrap();
}

fn publisher(store: &Arc<MemoryStore>, notifiers: Vec<Arc<dyn Notifier>>) -> RevocationHandle {
    let options = PublisherOptions { period: Duration::from_millis(100) };
    RevocationPublisher::start(Arc::clone(store) as _, notifiers, options).unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn delivered(store: &MemoryStore) -> bool {
    store.outbox().iter().all(|row| row.pending.is_empty())
}

fn webhook(url: &str) -> Result<Webhook, InvalidWebhook> {
    keylime_pki::install_crypto_provider();
    let tls = keylime_pki::tls::client(None, keylime_pki::tls::ServerTrust::All).unwrap();
    Webhook::new(WebhookOptions { url: url.to_owned(), tls, timeout: Duration::from_secs(5), window: 8 })
}

#[tokio::test]
async fn every_notice_is_delivered_once_and_in_order_per_agent() {
    let store = Arc::new(MemoryStore::default());
    let amqp = Scripted::new("amqp");
    let handle = publisher(&store, vec![amqp.clone()]);
    for n in 0..300 {
        fail(&store, &format!("agent-{}", n % 7), &format!("{n:03}"), &["amqp"]).await;
        if n % 10 == 0 {
            handle.poke();
        }
    }
    until("all are marked", || delivered(&store)).await;
    let mut per_agent: BTreeMap<AgentId, Vec<String>> = BTreeMap::new();
    for row in amqp.taken.lock().iter() {
        per_agent.entry(row.agent_id.clone()).or_default().push(row.body.clone());
    }
    assert_eq!(per_agent.values().map(Vec::len).sum::<usize>(), 300);
    for bodies in per_agent.values() {
        assert!(bodies.is_sorted(), "{bodies:?}");
    }
    assert_eq!(handle.health()[0].state, NotifierState::Up);
}

#[tokio::test]
async fn a_notifier_that_is_away_delays_no_other_and_gets_everything_later() {
    let store = Arc::new(MemoryStore::default());
    let (amqp, webhook) = (Scripted::new("amqp"), Scripted::new("webhook"));
    webhook.away.store(true, Ordering::SeqCst);
    let handle = publisher(&store, vec![amqp.clone(), webhook.clone()]);
    for n in 0..50 {
        fail(&store, &format!("agent-{n}"), &n.to_string(), &["amqp", "webhook"]).await;
    }
    handle.poke();
    until("amqp has all", || amqp.bodies().len() == 50).await;
    assert!(webhook.bodies().is_empty());
    until("health says so", || handle.health()[1].state != NotifierState::Up).await;
    webhook.away.store(false, Ordering::SeqCst);
    until("webhook has all", || delivered(&store)).await;
    assert_eq!(webhook.bodies().len(), 50);
    assert_eq!(amqp.bodies().len(), 50);
    assert_eq!(handle.health()[1].state, NotifierState::Up);
}

#[tokio::test]
async fn cve_2022_23950_a_notifier_that_panics_is_restarted_and_loses_nothing() {
    let store = Arc::new(MemoryStore::default());
    let amqp = Scripted::new("amqp");
    amqp.panics.store(1, Ordering::SeqCst);
    let handle = publisher(&store, vec![amqp.clone()]);
    for n in 0..5 {
        fail(&store, &format!("agent-{n}"), &n.to_string(), &["amqp"]).await;
    }
    handle.poke();
    until("all are delivered after the restart", || delivered(&store)).await;
    let bodies: BTreeSet<String> = amqp.bodies().into_iter().collect();
    assert_eq!(bodies.len(), 5);
}

#[tokio::test]
async fn what_was_confirmed_is_not_sent_again_while_the_database_is_away() {
    let store = Arc::new(MemoryStore::default());
    let amqp = Scripted::new("amqp");
    fail(&store, "a", "first", &["amqp"]).await;
    let handle = publisher(&store, vec![amqp.clone()]);
    // Away between the delivery and its mark.
    until("delivered", || !amqp.bodies().is_empty()).await;
    store.set_away(true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    store.set_away(false);
    until("marked", || delivered(&store)).await;
    assert_eq!(amqp.bodies(), ["first"]);
    handle.shutdown(Duration::from_secs(5)).await;
    assert_eq!(handle.health()[0].state, NotifierState::Stopped);
}

#[tokio::test]
async fn shutdown_leaves_the_rest_to_the_next_start_and_doubles_keep_their_id() {
    let store = Arc::new(MemoryStore::default());
    let amqp = Scripted::new("amqp");
    for n in 0..200 {
        fail(&store, &format!("agent-{n}"), &n.to_string(), &["amqp"]).await;
    }
    let handle = publisher(&store, vec![amqp.clone()]);
    until("some are delivered", || amqp.bodies().len() > 10).await;
    handle.shutdown(Duration::from_secs(5)).await;
    let before = amqp.bodies().len();
    let marked = store.outbox().iter().filter(|row| row.pending.is_empty()).count();
    assert_eq!(marked, before, "what was under way is confirmed and marked");

    let handle = publisher(&store, vec![amqp.clone()]);
    until("the rest is delivered", || delivered(&store)).await;
    let ids: BTreeSet<Uuid> = amqp.taken.lock().iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 200);
    drop(handle);
}

#[tokio::test]
async fn a_webhook_is_tried_again_until_it_takes_the_notice() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(503)).up_to_n_times(2).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(202)).mount(&server).await;
    let store = Arc::new(MemoryStore::default());
    fail(&store, "a", "{\"msg\": \"x\", \"signature\": \"\"}", &["webhook"]).await;
    let _handle = publisher(&store, vec![Arc::new(webhook(&server.uri()).unwrap())]);
    until("taken", || delivered(&store)).await;
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].body, b"{\"msg\": \"x\", \"signature\": \"\"}");
    assert_eq!(requests[2].headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_notice_that_the_webhook_refuses_holds_up_only_its_agent() {
    let server = MockServer::start().await;
    let refuse = Mock::given(body_string_contains("bad")).respond_with(ResponseTemplate::new(400));
    let refused = refuse.mount_as_scoped(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let store = Arc::new(MemoryStore::default());
    fail(&store, "a", "bad", &["webhook"]).await;
    fail(&store, "a", "after", &["webhook"]).await;
    fail(&store, "b", "good", &["webhook"]).await;
    let handle = publisher(&store, vec![Arc::new(webhook(&server.uri()).unwrap())]);
    until("the other agent's is taken", || store.outbox()[2].pending.is_empty()).await;
    until("it counts as refused", || handle.health()[0].parked == 1).await;
    assert!(!store.outbox()[1].pending.is_empty(), "the later one waits for the earlier");
    drop(refused);
    until("taken in the end", || delivered(&store)).await;
    let bodies: Vec<Vec<u8>> = server.received_requests().await.unwrap().into_iter().map(|r| r.body).collect();
    let last: Vec<&[u8]> = bodies[bodies.len() - 2..].iter().map(Vec::as_slice).collect();
    assert_eq!(last, [&b"bad"[..], b"after"]);
}

#[test]
fn only_http_urls_are_webhooks() {
    assert_eq!(webhook("ftp://host/").err(), Some(InvalidWebhook::Url));
    assert_eq!(webhook("").err(), Some(InvalidWebhook::Url));
    assert!(webhook("https://host:9/hook").is_ok());
}

#[tokio::test]
async fn a_zeromq_subscriber_gets_one_frame_per_notice() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let notifier = Arc::new(ZeroMq::new("127.0.0.1", port));
    notifier.bind().await.unwrap();
    let mut subscriber = SubSocket::new();
    subscriber.connect(&format!("tcp://127.0.0.1:{port}")).await.unwrap();
    subscriber.subscribe("").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let store = Arc::new(MemoryStore::default());
    for body in ["{\"msg\": \"first\"}", "{\"msg\": \"second\"}"] {
        fail(&store, "a", body, &["zeromq"]).await;
    }
    let _handle = publisher(&store, vec![notifier]);
    for expected in ["{\"msg\": \"first\"}", "{\"msg\": \"second\"}"] {
        let message = tokio::time::timeout(Duration::from_secs(10), subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(message.len(), 1);
        assert_eq!(message.get(0).unwrap(), expected.as_bytes());
    }
    until("marked", || delivered(&store)).await;
}

/// A fleet that counts how many requests it has to answer at a time.
#[derive(Default)]
struct CountingFleet {
    under_way: Mutex<BTreeMap<AgentId, usize>>,
    most: AtomicUsize,
    told: Mutex<Vec<(AgentId, String, String)>>,
    old: bool,
}

#[async_trait]
impl EvidenceTransport for CountingFleet {
    async fn send(&self, call: AgentCall) -> AgentReply {
        let AgentMethod::PostJson(body) = &call.method else {
            let body = r#"{"code": 200, "status": "Success", "results": {"supported_versions": ["2.1", "2.4"]}}"#;
            return AgentReply::Response { status: 200, body: body.into() };
        };
        {
            let mut under_way = self.under_way.lock();
            *under_way.entry(call.agent_id.clone()).or_insert(0) += 1;
            assert!(under_way.values().all(|count| *count <= 1), "two requests to one agent at a time");
            self.most.fetch_max(under_way.len(), Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.under_way.lock().remove(&call.agent_id);
        if self.old && !call.path.starts_with("/v2.4/") {
            let body = r#"{"code": 400, "status": "API version not supported", "results": {}}"#;
            return AgentReply::Response { status: 400, body: body.into() };
        }
        self.told.lock().push((call.agent_id.clone(), call.path, String::from_utf8_lossy(body).into_owned()));
        if call.agent_id.as_str() == "agent-9" {
            return AgentReply::Unreachable(Unreachable::Timeout);
        }
        AgentReply::Response { status: 200, body: "{}".into() }
    }

    fn forget(&self, _agent_id: &AgentId) {}
}

fn notices(store: &Arc<MemoryStore>, fleet: &Arc<CountingFleet>, bounds: NoticeBounds) -> Arc<dyn Notifier> {
    Arc::new(AgentNotices::new(Arc::clone(store) as _, "default", Arc::clone(fleet) as _, AgentTls::Disabled, bounds))
}

#[tokio::test]
async fn every_agent_hears_of_every_other_failure_once_within_bounds() {
    let store = Arc::new(MemoryStore::default());
    let fleet = Arc::new(CountingFleet::default());
    for n in 0..40 {
        store.insert(record(&format!("agent-{n}")));
    }
    store.insert(AgentRecord { ip: None, port: None, ..record("push-agent") });
    store.insert(AgentRecord { verifier_id: "other".to_owned(), ..record("foreign-agent") });
    for n in 0..20 {
        fail(&store, &format!("agent-{n}"), &n.to_string(), &["agent"]).await;
    }
    let bounds = NoticeBounds { concurrency: 8, ..NoticeBounds::default() };
    let _handle = publisher(&store, vec![notices(&store, &fleet, bounds)]);
    until("all have passed", || delivered(&store)).await;
    let told = fleet.told.lock();
    assert_eq!(told.len(), 20 * 39);
    assert_eq!(told.iter().map(|(id, _, body)| (id, body)).collect::<BTreeSet<_>>().len(), 20 * 39);
    assert!(told.iter().all(|(id, _, body)| id.as_str() != format!("agent-{body}")), "the failing agent is not told");
    assert!(told.iter().all(|(_, path, _)| path == "/v2.5/notifications/revocation"));
    assert!(fleet.most.load(Ordering::SeqCst) <= 8);
}

#[tokio::test]
async fn a_mass_failure_skips_to_the_newest_notices() {
    let store = Arc::new(MemoryStore::default());
    let fleet = Arc::new(CountingFleet::default());
    for n in 0..30 {
        store.insert(record(&format!("agent-{n}")));
    }
    for n in 0..500 {
        fail(&store, &format!("failing-{n}"), &format!("{n:03}"), &["agent"]).await;
    }
    let bounds = NoticeBounds { concurrency: 4, backlog: 60, ..NoticeBounds::default() };
    let _handle = publisher(&store, vec![notices(&store, &fleet, bounds)]);
    until("all have passed", || delivered(&store)).await;
    let told = fleet.told.lock();
    assert!(told.len() < 30 * 100 + 500 * 4, "{} requests for 500 failures and 530 agents", told.len());
    let mut last: BTreeMap<&AgentId, &str> = BTreeMap::new();
    for (id, _, body) in told.iter().filter(|(id, _, _)| id.as_str().starts_with("agent-")) {
        last.insert(id, body);
    }
    assert_eq!(last.len(), 30);
    assert_eq!(last.values().collect::<BTreeSet<_>>().len(), 1, "everyone hears of the newest: {last:?}");
}

#[tokio::test]
async fn an_agent_that_speaks_an_older_version_is_asked_again_in_it() {
    let store = Arc::new(MemoryStore::default());
    let fleet = Arc::new(CountingFleet { old: true, ..CountingFleet::default() });
    store.insert(record("agent-1"));
    fail(&store, "failing", "x", &["agent"]).await;
    store.remove(&AgentId::parse("failing").unwrap());
    let _handle = publisher(&store, vec![notices(&store, &fleet, NoticeBounds::default())]);
    until("all have passed", || delivered(&store)).await;
    let told = fleet.told.lock();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, "/v2.4/notifications/revocation");
}
