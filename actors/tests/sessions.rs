//! Sessions over a real database: across restarts, beside rows that Keylime has written, and when much goes on at once.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::adapters::session_rows::SqlSessionStore;
use keylime_actors::ports::{AgentRecord, Clock, Entropy, TokenExtension as _};
use keylime_actors::runtime::clock::TokioClock;
use keylime_actors::runtime::entropy::SystemEntropy;
use keylime_actors::sessions::{
    Extension, ProofOutcome, ProveRefusal, SessionHandle, SessionLimits, SessionOptions, SessionPorts, SessionStore,
    StoredToken, TokenVerdict,
};
use keylime_bench::soft_tpm::{AttestationPair, EndorsementPair, SoftTpm};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::session_token::SessionToken;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::rate_limit::Rate;
use keylime_schema::database::{Database, Service};
use sea_orm::ConnectionTrait as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use support::memory_store::MemoryStore;

/// 2026-01-01.
const START_MILLIS: u64 = 1_767_225_600_000;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Site {
    agents: Arc<MemoryStore>,
    database: Database,
    clock: Arc<dyn Clock>,
}

impl Site {
    async fn new() -> Self {
        let database = Database::in_memory(Service::Verifier).await.unwrap();
        Self { agents: Arc::default(), database, clock: Arc::new(TokioClock::starting_at(START_MILLIS)) }
    }

    fn store(&self) -> Arc<SqlSessionStore> {
        Arc::new(SqlSessionStore::new(self.database.clone()))
    }

    /// Sessions that begin with an empty memory.
    fn start(&self, options: SessionOptions) -> SessionHandle {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let ports = SessionPorts {
            agents: Arc::clone(&self.agents) as _,
            sessions: self.store(),
            clock: Arc::clone(&self.clock),
            entropy,
        };
        let (handle, writer) = SessionHandle::new(options, ports);
        tokio::spawn(writer);
        handle
    }

    fn enrol(&self, name: &str, tpm: &SoftTpm) -> AgentId {
        let id = AgentId::parse(name).unwrap();
        self.agents.insert(AgentRecord { ak_tpm: STANDARD.encode(tpm.attestation().public()), ..record(&id) });
        id
    }

    async fn rows(&self) -> usize {
        self.database
            .reader()
            .query_all_raw(sea_orm::Statement::from_string(
                sea_orm::DatabaseBackend::Sqlite,
                "SELECT session_id FROM sessions",
            ))
            .await
            .unwrap()
            .len()
    }

    async fn execute(&self, sql: &str) {
        let transaction = self.database.begin().await.unwrap();
        transaction.execute_unprepared(sql).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

fn record(id: &AgentId) -> AgentRecord {
    AgentRecord { supported_version: "3.0".to_owned(), ..AgentRecord::fresh(id.clone()) }
}

fn options() -> SessionOptions {
    let rate = Rate { limit: 100_000, window: Duration::from_secs(60) };
    let limits = SessionLimits { per_address: rate, per_agent: rate, budget: rate };
    SessionOptions { limits, ..SessionOptions::default() }
}

fn tpm() -> SoftTpm {
    let endorsement = Arc::new(EndorsementPair::p256_from_seed(&[5; 32]).unwrap());
    let attestation = Arc::new(AttestationPair::p256_from_seed(&[6; 32]).unwrap());
    SoftTpm::new(endorsement, attestation, &[HashAlgorithm::Sha256])
}

async fn log_in(handle: &SessionHandle, agent: &AgentId, tpm: &SoftTpm) -> String {
    let admitted = handle.admit_address(HERE, Some(agent)).await.unwrap();
    let opened = handle.open(agent.clone(), admitted);
    let made = tpm.clone().certify_attestation_key(tpm.attestation(), opened.challenge.as_bytes()).unwrap();
    let proof = handle.prove(&opened.id.to_string(), agent.as_str(), &made.attest, &made.signature).await.unwrap();
    match proof.outcome {
        ProofOutcome::Pass { token, .. } => token.expose().to_owned(),
        ProofOutcome::Fail(refusal) => panic!("{refusal}"),
    }
}

#[tokio::test]
async fn a_token_outlives_a_restart_and_is_stored_as_a_hash() {
    let site = Site::new().await;
    let tpm = tpm();
    let agent = site.enrol("a1", &tpm);
    let token = log_in(&site.start(options()), &agent, &tpm).await;
    let stored = site.store().session(SessionToken::session_of(&token).unwrap()).await.unwrap().unwrap();
    let StoredToken::Digest(digest) = stored.token else { panic!("{stored:?}") };
    assert!(!token.contains(&digest.to_hex()) && stored.active);
    let restarted = site.start(options());
    assert_eq!(restarted.check(&token).await, TokenVerdict::Agent(agent));
    let changed = format!("{}A", &token[..79]);
    assert_eq!(
        restarted.check(&changed).await,
        if changed == token { restarted.check(&token).await } else { TokenVerdict::Unknown }
    );
    // The sessions of a deleted agent go on, as in the reference; its next attestation finds no agent.
    site.agents.clear_agents();
    assert!(matches!(restarted.check(&token).await, TokenVerdict::Agent(_)));
}

#[tokio::test]
async fn of_two_sessions_of_an_agent_the_later_one_counts() {
    let site = Site::new().await;
    let tpm = tpm();
    let agent = site.enrol("a1", &tpm);
    let handle = site.start(options());
    let first = log_in(&handle, &agent, &tpm).await;
    let second = log_in(&handle, &agent, &tpm).await;
    assert_eq!(site.rows().await, 1);
    for handle in [handle, site.start(options())] {
        assert_eq!(handle.check(&first).await, TokenVerdict::Unknown);
        assert_eq!(handle.check(&second).await, TokenVerdict::Agent(agent.clone()));
    }
}

#[tokio::test]
async fn an_attestation_extends_the_token_here_and_in_the_database() {
    let site = Site::new().await;
    let tpm = tpm();
    let agent = site.enrol("a1", &tpm);
    let brief = SessionOptions { session_lifetime: Duration::from_millis(2000), ..options() };
    let handle = site.start(brief.clone());
    let token = log_in(&handle, &agent, &tpm).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        handle.extend(&agent);
        assert_eq!(handle.check(&token).await, TokenVerdict::Agent(agent.clone()));
    }
    handle.shutdown(Duration::from_secs(5)).await;
    assert_eq!(site.start(brief).check(&token).await, TokenVerdict::Agent(agent.clone()));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(handle.check(&token).await, TokenVerdict::Expired);
    // What is over stays over.
    handle.extend(&agent);
    assert_eq!(handle.check(&token).await, TokenVerdict::Expired);
}

#[tokio::test]
async fn without_the_option_nothing_is_extended() {
    let site = Site::new().await;
    let tpm = tpm();
    let agent = site.enrol("a1", &tpm);
    let never =
        SessionOptions { session_lifetime: Duration::from_millis(500), extension: Extension::Never, ..options() };
    let handle = site.start(never);
    let token = log_in(&handle, &agent, &tpm).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    handle.extend(&agent);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(handle.check(&token).await, TokenVerdict::Expired);
}

/// The row of a token, with the salt of zeros and 600,000 rounds, made with Python's hashlib.
const KEYLIMES_TOKEN: &str = "11111111-2222-4333-8444-555555555555.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const KEYLIMES_HASH: &str = "e48d4c7d8de692fd158040eaba8c4cb7911f2a2d702011cc27b7b0ea8f71974c";

#[tokio::test]
async fn rows_of_keylime_are_accepted_and_hashed_anew() {
    let site = Site::new().await;
    let row = |id: &str, active: u8, expires: &str| {
        format!(
            "INSERT INTO sessions (session_id, token_hash, token_salt, agent_id, active, token_expires_at) VALUES \
             ('{id}', '{KEYLIMES_HASH}', '{}', 'a1', {active}, {expires})",
            "00".repeat(16)
        )
    };
    site.execute(&row(&KEYLIMES_TOKEN[..36], 1, "'2026-01-01T00:10:00.000000+00:00'")).await;
    let handle = site.start(options());
    let wrong = KEYLIMES_TOKEN.replace(".A", ".B");
    assert_eq!(handle.check(&wrong).await, TokenVerdict::Unknown);
    assert_eq!(handle.check(KEYLIMES_TOKEN).await, TokenVerdict::Agent(AgentId::parse("a1").unwrap()));
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(matches!(handle.check(KEYLIMES_TOKEN).await, TokenVerdict::Agent(_)));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    handle.shutdown(Duration::from_secs(5)).await;
    let stored = site.store().session(SessionToken::session_of(KEYLIMES_TOKEN).unwrap()).await.unwrap().unwrap();
    assert!(matches!(stored.token, StoredToken::Digest(_)));
    for (active, expires, verdict) in [
        (0, "'2026-01-01T00:10:00.000000+00:00'", TokenVerdict::Inactive),
        (1, "NULL", TokenVerdict::Expired),
        (1, "'soon'", TokenVerdict::Unknown),
    ] {
        site.execute("DELETE FROM sessions").await;
        site.execute(&row(&KEYLIMES_TOKEN[..36], active, expires)).await;
        assert_eq!(site.start(options()).check(KEYLIMES_TOKEN).await, verdict, "{active} {expires}");
    }
}

#[tokio::test]
async fn sessions_that_are_over_are_deleted_at_the_start() {
    let site = Site::new().await;
    for (number, expires) in ["2025-12-31T23:59:59.999999+00:00", "2026-01-01T01:00:00.000000+00:00"].iter().enumerate()
    {
        site.execute(&format!(
            "INSERT INTO sessions (session_id, token_hash, token_salt, agent_id, active, token_expires_at) VALUES \
             ('s{number}', 'x', '', 'a{number}', 1, '{expires}')"
        ))
        .await;
    }
    let _handle = site.start(options());
    for _ in 0..100 {
        if site.rows().await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session that is over is still there");
}

#[tokio::test]
async fn a_thousand_agents_authenticate_at_once() {
    let site = Site::new().await;
    let handle = site.start(SessionOptions::default());
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let tpm = tpm();
        let agent = site.enrol(&format!("a{number}"), &tpm);
        let handle = handle.clone();
        logins.spawn(async move {
            let token = log_in(&handle, &agent, &tpm).await;
            (agent, token)
        });
    }
    let tokens = logins.join_all().await;
    let restarted = site.start(options());
    for (agent, token) in tokens {
        assert_eq!(restarted.check(&token).await, TokenVerdict::Agent(agent));
    }
}

#[tokio::test]
async fn of_two_answers_to_one_challenge_one_is_judged() {
    let site = Site::new().await;
    let tpm = tpm();
    let agent = site.enrol("a1", &tpm);
    let handle = site.start(options());
    let admitted = handle.admit_address(HERE, None).await.unwrap();
    let opened = handle.open(agent.clone(), admitted);
    let made = tpm.clone().certify_attestation_key(tpm.attestation(), opened.challenge.as_bytes()).unwrap();
    let id = opened.id.to_string();
    let answer = || handle.prove(&id, "a1", &made.attest, &made.signature);
    let (first, second) = tokio::join!(answer(), answer());
    let refused = [first, second].into_iter().filter(|answer| matches!(answer, Err(ProveRefusal::NotFound))).count();
    assert_eq!(refused, 1);
    // A proof is good for its own session only.
    let admitted = handle.admit_address(HERE, None).await.unwrap();
    let other = handle.open(agent, admitted);
    let replayed = handle.prove(&other.id.to_string(), "a1", &made.attest, &made.signature).await.unwrap();
    assert!(matches!(replayed.outcome, ProofOutcome::Fail(_)));
}
