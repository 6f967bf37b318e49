//! The verifier's store for push agents: attestations with their evidence, and sessions.

use crate::engines::TestDatabase;
use crate::on_every_engine;
use crate::verifier_suite::{enrol, id, notice, progress, runtime};
use keylime_actors::adapters::session_rows::SqlSessionStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{
    NewRuntimePolicy, PolicyStoreError, StoreError, VerifierStore as _, VerifierWrite, WriteOutcome,
};
use keylime_actors::sessions::{SessionRow, SessionStore as _, StoredToken};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::evidence::attestation::{
    Attestation, AttestationIndex, AttestationItem, Challenge, Chosen, Evaluation, FailureReason, ItemData, LogData,
    LogFormat, LogParameters, QuoteData, QuoteParameters, Stage, WallMicros,
};
use keylime_engine::evidence::binary_text::BinaryOrText;
use keylime_engine::evidence::capabilities::{
    Capabilities, CertificationCapabilities, CertificationKey, EvidenceType, KeyClass, LogCapabilities, LogGrowth,
    PartialAccess, Subjects,
};
use keylime_engine::identity::proof_of_possession;
use keylime_engine::identity::session_token::{SessionId, SessionToken, TokenDigest};
use keylime_engine::lifecycle::Occurrence;
use keylime_engine::lifecycle::push_restore::StoredAttestation;
use keylime_engine::tpm::signature::SignatureScheme;
use keylime_schema::database::Engine;
use keylime_schema::wire::v3::timestamp::UtcMicros;
use sea_orm::{ConnectionTrait as _, Statement};
use std::sync::Arc;

on_every_engine!(Verifier;
    an_attestation_reads_back_as_it_was_received_and_as_it_was_judged,
    evidence_that_is_received_again_stands_once,
    attestations_are_read_newest_first_and_by_index,
    a_verdict_prunes_and_a_discarded_attestation_leaves_nothing,
    what_comes_for_an_agent_that_is_gone_or_stopped_is_dropped,
    a_fleet_in_one_batch_is_found_again_after_a_restart,
    a_session_takes_the_place_of_the_others_of_its_agent,
    sessions_are_extended_hashed_anew_and_swept,
    sessions_of_the_reference_are_read,
    agents_whose_ids_differ_in_case_have_their_own,
    long_logs_of_many_agents_are_stored_and_one_that_is_too_long_is_refused_alone,
);

const NOON: i64 = 1_763_899_200_000_000;

fn store(test: &TestDatabase) -> SqlVerifierStore {
    SqlVerifierStore::new(test.db.clone())
}

/// What an agent sent, with all the kinds of evidence.
pub fn received(index: u32) -> Attestation {
    let at = |seconds: i64| WallMicros(NOON + i64::from(index) * 60_000_000 + seconds * 1_000_000 + 7);
    Attestation {
        index: AttestationIndex(index),
        stage: Stage::EvaluatingEvidence,
        boot_time: Some(NOON - 3_600_000_000),
        capabilities_received: at(0),
        challenges_expire: Some(at(1800)),
        evidence_received: Some(at(2)),
        verification_completed: None,
        items: vec![quote_item(index), boot_log_item(), measurement_list_item(index)],
    }
}

fn quote_item(index: u32) -> AttestationItem {
    let key = CertificationKey {
        key_class: KeyClass::Asymmetric,
        key_algorithm: Some("ecc".into()),
        key_size: 256,
        server_identifier: Some("ak".into()),
        local_identifier: Some(BinaryOrText::Binary([0, 11, 255].into())),
        allowable_signature_schemes: Some(vec!["ecdsa".into()]),
        allowable_hash_algorithms: Some(vec!["sha256".into(), "sha384".into()]),
        public: Some([0, 1, 2, 254, 255].into()),
    };
    AttestationItem {
        kind: EvidenceType::TpmQuote,
        capabilities: Capabilities::Certification(Box::new(CertificationCapabilities {
            component_version: Some("2.0".into()),
            evidence_version: None,
            signature_schemes: Some(vec!["rsassa".into(), "ecdsa".into()]),
            hash_algorithms: Some(vec!["sha256".into()]),
            available_subjects: Some(Subjects::Banks(vec![("sha256".into(), vec![0, 10]), ("sha1".into(), vec![10])])),
            certification_keys: Some(vec![key.clone()]),
        })),
        chosen: Chosen::Quote(Box::new(QuoteParameters {
            challenge: Challenge::new([u8::try_from(index % 251).unwrap(); 16]),
            signature_scheme: SignatureScheme::from_name("ecdsa").unwrap(),
            hash_algorithm: HashAlgorithm::Sha256,
            selected_subjects: vec![("sha256".into(), Some(vec![0, 10])), ("sha1".into(), None)],
            certification_key: key,
        })),
        data: Some(ItemData::Quote(Box::new(QuoteData {
            subject_data: (0..=255).collect(),
            message: vec![0xff, b'T', b'C', b'G', 0, 0x80, 0x18],
            signature: vec![0; 300],
        }))),
        certified_entries: None,
    }
}

fn boot_log_item() -> AttestationItem {
    AttestationItem {
        kind: EvidenceType::UefiLog,
        capabilities: Capabilities::Log(LogCapabilities {
            evidence_version: Some("2.1".into()),
            entry_count: Some(90),
            formats: Some(vec!["application/octet-stream".into()]),
            ..LogCapabilities::default()
        }),
        chosen: Chosen::Log(LogParameters { starting_offset: None, format: LogFormat::Binary }),
        // Longer than MySQL's TEXT.
        data: Some(ItemData::Log(LogData { entry_count: None, entries: "QUJD".repeat(50_000).into() })),
        certified_entries: None,
    }
}

fn measurement_list_item(index: u32) -> AttestationItem {
    AttestationItem {
        kind: EvidenceType::ImaLog,
        capabilities: Capabilities::Log(LogCapabilities {
            entry_count: Some(4096),
            partial_access: PartialAccess::Supported,
            growth: LogGrowth::Appendable,
            formats: Some(vec!["text/plain".into()]),
            ..LogCapabilities::default()
        }),
        chosen: Chosen::Log(LogParameters { starting_offset: Some(u64::from(index) * 2), format: LogFormat::Text }),
        data: Some(ItemData::Log(LogData {
            entry_count: Some(2),
            entries: "10 ab ima-ng sha256:cd /usr/bin/größe \\x20\n10 ef ima-ng sha256:01 /opt/\u{1f600}\n".into(),
        })),
        certified_entries: None,
    }
}

fn judged(mut attestation: Attestation, evaluation: Evaluation) -> Attestation {
    attestation.stage = Stage::Complete(evaluation);
    attestation.verification_completed = Some(WallMicros(attestation.capabilities_received.0 + 3_000_001));
    for item in &mut attestation.items {
        if item.kind == EvidenceType::ImaLog {
            item.certified_entries = Some(2);
        }
    }
    attestation
}

pub fn receive(agent: &str, attestation: &Attestation) -> VerifierWrite {
    receive_as(agent, attestation, Occurrence::First)
}

fn receive_as(agent: &str, attestation: &Attestation, occurrence: Occurrence) -> VerifierWrite {
    VerifierWrite::ReceiveEvidence { agent_id: id(agent), attestation: Arc::new(attestation.clone()), occurrence }
}

pub fn conclude(agent: &str, index: u32, evaluation: Evaluation, prune: &[u32]) -> VerifierWrite {
    VerifierWrite::Conclude {
        progress: progress(agent, i64::from(index) + 1),
        attestation: Arc::new(judged(received(index), evaluation)),
        prune: prune.iter().copied().map(AttestationIndex).collect(),
        outbox: Vec::new(),
    }
}

/// Applies writes that must all succeed.
pub async fn written(store: &SqlVerifierStore, batch: Vec<VerifierWrite>) {
    let outcomes = store.write(batch).await.unwrap();
    let done = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Written | WriteOutcome::Enrolled { .. });
    assert!(outcomes.iter().all(done), "{outcomes:?}");
}

async fn rows_of(test: &TestDatabase, agent: &str) -> (i64, i64) {
    let db = test.db.reader();
    let mut counts = Vec::new();
    for table in ["attestations", "evidence_items"] {
        let text = format!("SELECT COUNT(*) AS n FROM {table} WHERE agent_id = '{agent}'");
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), text)).await.unwrap().unwrap();
        counts.push(row.try_get::<i64>("", "n").unwrap());
    }
    (counts[0], counts[1])
}

async fn indexes(store: &SqlVerifierStore, agent: &str) -> Vec<u32> {
    store.attestations(agent, 100).await.unwrap().iter().map(|attestation| attestation.index.0).collect()
}

async fn an_attestation_reads_back_as_it_was_received_and_as_it_was_judged(test: TestDatabase) {
    let store = store(&test);
    let sent = received(0);
    written(&store, vec![enrol("a"), receive("a", &sent)]).await;
    assert_eq!(store.attestation("a", AttestationIndex(0)).await.unwrap().as_ref(), Some(&sent));
    for (index, evaluation) in [
        (0, Evaluation::Pass),
        (1, Evaluation::Fail(FailureReason::PolicyViolation)),
        (2, Evaluation::Fail(FailureReason::BrokenEvidenceChain)),
    ] {
        let sent = received(index);
        if index > 0 {
            written(&store, vec![receive("a", &sent)]).await;
        }
        written(&store, vec![conclude("a", index, evaluation, &[])]).await;
        let stored = store.attestation("a", AttestationIndex(index)).await.unwrap();
        assert_eq!(stored, Some(judged(sent, evaluation)));
    }
    let agent = store.agent("a").await.unwrap().unwrap();
    assert_eq!((agent.attestation_count, agent.consecutive_attestation_failures), (3, 2));
    // An agent that names no boot time, asked for nothing.
    let bare = Attestation {
        boot_time: None,
        challenges_expire: None,
        evidence_received: None,
        stage: Stage::AwaitingEvidence,
        items: Vec::new(),
        ..received(3)
    };
    written(&store, vec![receive("a", &bare)]).await;
    assert_eq!(store.attestation("a", AttestationIndex(3)).await.unwrap(), Some(bare));
}

async fn evidence_that_is_received_again_stands_once(test: TestDatabase) {
    let store = store(&test);
    let sent = received(4);
    written(&store, vec![enrol("a"), receive("a", &sent)]).await;
    // The first commit was not confirmed.
    written(&store, vec![receive_as("a", &sent, Occurrence::Again)]).await;
    assert_eq!(rows_of(&test, "a").await, (1, 3));
    assert_eq!(store.attestation("a", AttestationIndex(4)).await.unwrap(), Some(sent.clone()));
    // Nor was the verdict; neither is it undone by the evidence, in one batch or in two.
    let verdict = || conclude("a", 4, Evaluation::Pass, &[]);
    written(&store, vec![verdict(), verdict()]).await;
    written(&store, vec![receive_as("a", &sent, Occurrence::Again), verdict()]).await;
    assert_eq!(rows_of(&test, "a").await, (1, 3));
    let stored = store.attestation("a", AttestationIndex(4)).await.unwrap();
    assert_eq!(stored, Some(judged(sent, Evaluation::Pass)));
}

async fn attestations_are_read_newest_first_and_by_index(test: TestDatabase) {
    let store = store(&test);
    written(&store, vec![enrol("a"), enrol("b")]).await;
    // The order of indexes is that of numbers, not that of texts or of rows.
    for index in [9, 100, 10, 2] {
        written(&store, vec![receive("a", &received(index)), receive("b", &received(index + 1))]).await;
    }
    assert_eq!(indexes(&store, "a").await, [100, 10, 9, 2]);
    assert_eq!(indexes(&store, "b").await, [101, 11, 10, 3]);
    let newest = store.attestations("a", 2).await.unwrap();
    assert_eq!(newest, [received(100), received(10)]);
    assert_eq!(store.attestations("a", 1).await.unwrap(), [received(100)]);
    assert_eq!(store.attestations("a", 0).await.unwrap(), []);
    assert_eq!(store.attestation("a", AttestationIndex(11)).await.unwrap(), None);
    assert_eq!(store.attestation("b", AttestationIndex(11)).await.unwrap(), Some(received(11)));
    assert_eq!(store.attestation("a", AttestationIndex(u32::MAX)).await.unwrap(), None);
    assert_eq!(store.attestations("nobody", 5).await.unwrap(), []);
}

async fn a_verdict_prunes_and_a_discarded_attestation_leaves_nothing(test: TestDatabase) {
    let store = store(&test);
    written(&store, vec![enrol("a"), enrol("b")]).await;
    for index in 0..5 {
        written(&store, vec![receive("a", &received(index)), receive("b", &received(index))]).await;
    }
    written(&store, vec![conclude("a", 4, Evaluation::Pass, &[1, 3, 77])]).await;
    assert_eq!(indexes(&store, "a").await, [4, 2, 0]);
    assert_eq!(rows_of(&test, "a").await, (3, 9));
    assert_eq!(rows_of(&test, "b").await, (5, 15));
    let discard =
        |agent, index| VerifierWrite::DiscardAttestation { agent_id: id(agent), index: AttestationIndex(index) };
    written(&store, vec![discard("a", 2), discard("a", 2), discard("b", 0)]).await;
    assert_eq!((indexes(&store, "a").await, rows_of(&test, "b").await), (vec![4, 0], (4, 12)));
    // More than one statement takes.
    let all: Vec<u32> = (10..180).collect();
    written(&store, all.iter().map(|index| receive("a", &received(*index))).collect()).await;
    written(&store, vec![conclude("a", 200, Evaluation::Pass, &all)]).await;
    assert_eq!(indexes(&store, "a").await, [200, 4, 0]);
}

async fn what_comes_for_an_agent_that_is_gone_or_stopped_is_dropped(test: TestDatabase) {
    let store = store(&test);
    let set = |agent, state| VerifierWrite::SetState { agent_id: id(agent), state: Some(state) };
    written(&store, vec![enrol("stopped"), enrol("live"), set("stopped", 10)]).await;
    let told = VerifierWrite::Conclude {
        progress: progress("stopped", 9),
        attestation: Arc::new(judged(received(1), Evaluation::Fail(FailureReason::PolicyViolation))),
        prune: Vec::new(),
        outbox: vec![notice(1, "stopped", &["amqp"])],
    };
    let discard = VerifierWrite::DiscardAttestation { agent_id: id("absent"), index: AttestationIndex(0) };
    let batch = vec![
        receive("absent", &received(0)),
        receive("stopped", &received(0)),
        told,
        conclude("absent", 0, Evaluation::Pass, &[]),
        discard,
        receive("live", &received(0)),
    ];
    let outcomes = store.write(batch).await.unwrap();
    let gone = |stored_state| WriteOutcome::Gone { stored_state };
    assert_eq!(outcomes, [gone(None), gone(Some(10)), gone(Some(10)), gone(None), gone(None), WriteOutcome::Written]);
    for agent in ["absent", "stopped"] {
        assert_eq!(rows_of(&test, agent).await, (0, 0));
    }
    assert_eq!(store.outbox_pending(9).await.unwrap(), []);
    // The rows of an agent go with it, in one batch with the last that came.
    let delete = VerifierWrite::Delete { agent_id: id("live") };
    written(&store, vec![receive("live", &received(1)), delete]).await;
    assert_eq!(rows_of(&test, "live").await, (0, 0));
    written(&store, vec![enrol("live"), receive("live", &received(0))]).await;
    assert_eq!(indexes(&store, "live").await, [0]);
}

async fn a_fleet_in_one_batch_is_found_again_after_a_restart(test: TestDatabase) {
    let first = store(&test);
    let names: Vec<String> = (0..300).map(|number| format!("agent-{number:03}")).collect();
    written(&first, names.iter().map(|name| enrol(name)).collect()).await;
    let light = |index| Attestation { items: vec![quote_item(index), measurement_list_item(index)], ..received(index) };
    written(&first, names.iter().map(|name| receive(name, &light(7))).collect()).await;
    written(&first, names.iter().map(|name| conclude(name, 7, Evaluation::Pass, &[])).collect()).await;
    written(&first, names.iter().step_by(2).map(|name| receive(name, &light(8))).collect()).await;

    let again = SqlVerifierStore::new(test.opened_again().await);
    let asked: Vec<&str> = names.iter().map(String::as_str).chain(["nobody"]).collect();
    let mut found = again.attestation_summaries(&asked).await.unwrap();
    found.sort_by(|one, other| (&one.0, one.1.index).cmp(&(&other.0, other.1.index)));
    assert_eq!(found.len(), 450);
    let summary = |index: u32, stage| {
        let Attestation { boot_time, evidence_received, .. } = received(index);
        StoredAttestation { index: AttestationIndex(index), stage, boot_time, evidence_received }
    };
    assert_eq!(found[0], (id("agent-000"), summary(7, Stage::Complete(Evaluation::Pass))));
    assert_eq!(found[1], (id("agent-000"), summary(8, Stage::EvaluatingEvidence)));
    assert_eq!(found[2], (id("agent-001"), summary(7, Stage::Complete(Evaluation::Pass))));
    assert_eq!(again.attestation("agent-298", AttestationIndex(8)).await.unwrap(), Some(light(8)));
    let certified = again.attestation("agent-299", AttestationIndex(7)).await.unwrap().unwrap();
    assert_eq!(certified.item(EvidenceType::ImaLog).unwrap().certified_entries, Some(2));
}

pub fn session(number: u8, agent: &str) -> (SessionRow, SessionToken) {
    let session = SessionId::from_entropy([number; 16]);
    let token = SessionToken::new(session, &[number; 32]);
    let at = |seconds| UtcMicros::from_micros(NOON).plus_seconds(seconds);
    let row = SessionRow {
        id: session,
        agent: id(agent),
        token: TokenDigest::of(token.expose()),
        challenge: proof_of_possession::Challenge::new([0xff; 16]),
        created: at(0),
        challenge_expires: at(60),
        proven: at(1),
        expires: at(i64::from(number)),
    };
    (row, token)
}

/// Agent, end and whether the token is the one given; `None` when there is no such session.
async fn found(store: &SqlSessionStore, row: &SessionRow, token: &SessionToken) -> Option<(String, i64, bool)> {
    let stored = store.session(row.id).await.unwrap()?;
    assert!(stored.active);
    let StoredToken::Digest(digest) = stored.token else { panic!("{:?}", stored.token) };
    let seconds = (stored.expires.unwrap().micros() - NOON) / 1_000_000;
    Some((stored.agent.to_string(), seconds, digest.matches(&TokenDigest::of(token.expose()))))
}

async fn a_session_takes_the_place_of_the_others_of_its_agent(test: TestDatabase) {
    // No agent has to be enrolled, nor is a session gone with its agent.
    let sessions = SqlSessionStore::new(test.db.clone());
    let ((a, token_a), (b, token_b), (next, token_next)) = (session(1, "a"), session(2, "prüfling"), session(3, "a"));
    assert_eq!(found(&sessions, &a, &token_a).await, None);
    sessions.begin(vec![a.clone(), b.clone()]).await.unwrap();
    assert_eq!(found(&sessions, &a, &token_a).await, Some(("a".into(), 1, true)));
    sessions.begin(vec![next.clone()]).await.unwrap();
    let again = SqlSessionStore::new(test.opened_again().await);
    assert_eq!(found(&again, &a, &token_a).await, None);
    assert_eq!(found(&again, &b, &token_b).await, Some(("prüfling".into(), 2, true)));
    assert_eq!(found(&again, &next, &token_a).await, Some(("a".into(), 3, false)));
    assert_eq!(found(&again, &next, &token_next).await, Some(("a".into(), 3, true)));
    // The same rows again, as after a commit that was not confirmed.
    sessions.begin(vec![next.clone(), b.clone()]).await.unwrap();
    assert_eq!(found(&again, &next, &token_next).await, Some(("a".into(), 3, true)));
    let fleet: Vec<_> = (10..=250).map(|number| session(number, &format!("agent-{number}"))).collect();
    sessions.begin(fleet.iter().map(|(row, _)| row.clone()).collect()).await.unwrap();
    assert_eq!(found(&again, &fleet[240].0, &fleet[240].1).await, Some(("agent-250".into(), 250, true)));
}

async fn sessions_are_extended_hashed_anew_and_swept(test: TestDatabase) {
    let sessions = SqlSessionStore::new(test.db.clone());
    let rows: Vec<_> = (1..=5).map(|number| session(number, &format!("agent-{number}"))).collect();
    sessions.begin(rows.iter().map(|(row, _)| row.clone()).collect()).await.unwrap();
    let at = |seconds| UtcMicros::from_micros(NOON).plus_seconds(seconds);
    let gone = SessionId::from_entropy([99; 16]);
    sessions.extend(vec![(rows[0].0.id, at(100)), (gone, at(100)), (rows[1].0.id, at(200))]).await.unwrap();
    assert_eq!(found(&sessions, &rows[0].0, &rows[0].1).await.unwrap().1, 100);
    // An end with a fraction is after the whole second.
    sessions.extend(vec![(rows[2].0.id, UtcMicros::from_micros(NOON + 4_000_001))]).await.unwrap();
    assert_eq!(sessions.purge(at(4)).await.unwrap(), 0);
    assert_eq!(sessions.purge(at(5)).await.unwrap(), 2);
    let mut left = Vec::new();
    for (row, token) in &rows {
        left.extend(found(&sessions, row, token).await.map(|(_, until, _)| until));
    }
    assert_eq!(left, [100, 200, 5]);
    let (_, other) = session(7, "agent-1");
    sessions.rehash(rows[0].0.id, TokenDigest::of(other.expose())).await.unwrap();
    assert_eq!(found(&sessions, &rows[0].0, &other).await, Some(("agent-1".into(), 100, true)));
}

async fn sessions_of_the_reference_are_read(test: TestDatabase) {
    let sessions = SqlSessionStore::new(test.db.clone());
    let insert = format!(
        "INSERT INTO sessions (session_id, token_hash, token_salt, agent_id, active, nonce_created_at, token_expires_at) \
         VALUES ('{}', '{}', '{}', 'a', {}, '2025-11-23T12:00:00.000000+00:00', {}), ('{}', 'x', 'y', 'b', {}, NULL, NULL)",
        SessionId::from_entropy([1; 16]),
        "ab".repeat(32),
        "cd".repeat(16),
        "TRUE",
        "'2025-11-23T12:03:00.500000+00:00'",
        SessionId::from_entropy([2; 16]),
        "FALSE",
    );
    test.db.reader().execute_unprepared(&insert).await.unwrap();
    let stored = sessions.session(SessionId::from_entropy([1; 16])).await.unwrap().unwrap();
    assert!(matches!(stored.token, StoredToken::Slow { salt, hash } if salt == [0xcd; 16] && hash == [0xab; 32]));
    assert_eq!((stored.agent, stored.active), (id("a"), true));
    assert_eq!(stored.expires, Some(UtcMicros::parse("2025-11-23T12:03:00.5Z").unwrap()));
    assert!(sessions.session(SessionId::from_entropy([2; 16])).await.unwrap().is_none());
    assert_eq!(sessions.purge(UtcMicros::parse("2025-11-23T12:03:01Z").unwrap()).await.unwrap(), 1);
}

async fn agents_whose_ids_differ_in_case_have_their_own(test: TestDatabase) {
    let store = store(&test);
    written(&store, vec![enrol("Agent"), enrol("agent")]).await;
    written(
        &store,
        vec![receive("Agent", &received(0)), receive("agent", &received(0)), receive("agent", &received(1))],
    )
    .await;
    written(&store, vec![conclude("agent", 1, Evaluation::Pass, &[0])]).await;
    assert_eq!((indexes(&store, "Agent").await, indexes(&store, "agent").await), (vec![0], vec![1]));
    assert_eq!(store.attestation_summaries(&["Agent"]).await.unwrap().len(), 1);
    let sessions = SqlSessionStore::new(test.db.clone());
    let ((upper, upper_token), (lower, lower_token)) = (session(1, "Agent"), session(2, "agent"));
    sessions.begin(vec![upper.clone()]).await.unwrap();
    sessions.begin(vec![lower.clone()]).await.unwrap();
    assert_eq!(found(&sessions, &upper, &upper_token).await, Some(("Agent".into(), 1, true)));
    assert_eq!(found(&sessions, &lower, &lower_token).await, Some(("agent".into(), 2, true)));
}

async fn long_logs_of_many_agents_are_stored_and_one_that_is_too_long_is_refused_alone(test: TestDatabase) {
    let store = store(&test);
    let names: Vec<String> = (0..24).map(|number| format!("agent-{number}")).collect();
    written(&store, names.iter().map(|name| enrol(name)).chain([enrol("long")]).collect()).await;
    let with_log = |bytes: usize| {
        let mut attestation = received(0);
        attestation.items[2].data =
            Some(ItemData::Log(LogData { entry_count: Some(1), entries: "x".repeat(bytes).into() }));
        attestation
    };
    // Together more than the 16 MiB that MySQL takes in one packet.
    written(&store, names.iter().map(|name| receive(name, &with_log(1 << 20))).collect()).await;
    assert_eq!(store.attestation("agent-23", AttestationIndex(0)).await.unwrap(), Some(with_log(1 << 20)));
    let too_long = with_log(17 << 20);
    let outcomes = store.write(vec![receive("long", &too_long), receive("agent-0", &received(1))]).await.unwrap();
    assert_eq!(outcomes[1], WriteOutcome::Written);
    let stored = store.attestation("long", AttestationIndex(0)).await.unwrap();
    match test.db.engine() {
        Engine::Sqlite | Engine::Postgres => assert_eq!(stored, Some(too_long)),
        Engine::MySql => {
            assert!(matches!(&outcomes[0], WriteOutcome::Refused(reason) if reason.contains("max_allowed_packet")));
            assert_eq!(stored, None);
            let text = Some("x".repeat(17 << 20).into());
            let policy = NewRuntimePolicy { text, ..runtime("long") };
            let refused = store.create_runtime_policy(policy).await;
            assert!(matches!(refused, Err(PolicyStoreError::Store(StoreError::TooLong(_)))), "{refused:?}");
        }
    }
}
