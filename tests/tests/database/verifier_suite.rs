//! The verifier's store: enrolment, progress, deletion, policies and the revocation outbox.

use crate::engines::TestDatabase;
use crate::on_every_engine;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{
    AgentProgress, AgentRecord, ExplanationChange, NewBootPolicy, NewRuntimePolicy, OutboxRow, PolicyChoice,
    PolicyStoreError, StatedPolicies, VerifierStore as _, VerifierWrite, WriteOutcome,
};
use keylime_engine::ids::AgentId;
use keylime_engine::verdict::Explanation;
use keylime_schema::database::Engine;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use uuid::Uuid;

on_every_engine!(Verifier;
    an_enrolled_agent_reads_back_as_it_was_written,
    a_refused_enrolment_says_why_and_leaves_no_trace,
    writes_of_one_batch_keep_their_order,
    progress_spares_what_attestation_does_not_change,
    progress_of_a_stopped_or_deleting_agent_is_dropped_with_its_notices,
    notices_wait_for_every_notifier_in_the_order_of_their_commit,
    explanations_last_from_a_failure_to_the_next_pass,
    deletion_takes_evidence_along_and_keeps_policies_that_others_use,
    policies_are_created_replaced_and_deleted_by_their_rules,
    policies_that_say_anything_are_told_apart_without_their_texts,
    a_row_that_cannot_be_stored_is_refused_alone,
    of_two_processes_exactly_one_enrols_an_agent,
    pages_cover_all_agents_of_a_verifier_once,
    large_batches_are_applied_completely,
    names_that_differ_in_case_are_different,
);

fn store(test: &TestDatabase) -> SqlVerifierStore {
    SqlVerifierStore::new(test.db.clone())
}

pub fn id(text: &str) -> AgentId {
    AgentId::parse(text).unwrap()
}

pub fn agent(name: &str) -> AgentRecord {
    AgentRecord {
        v: Some("3pRDpQzYqVwQ3+cwXFVBp5xZ1fn5lk1F1RkNcaNGZ6k=".into()),
        ip: Some("2001:db8::7".into()),
        port: Some(9002),
        operational_state: Some(1),
        tpm_policy: r#"{"mask": "0x400", "22": ["größer"]}"#.into(),
        meta_data: r#"{"cert_serial": 3}"#.into(),
        revocation_key: "-----BEGIN PRIVATE KEY-----".into(),
        accept_tpm_hash_algs: vec!["sha512".into(), "sha256".into()],
        accept_tpm_encryption_algs: vec!["ecc".into()],
        supported_version: "2.5".into(),
        ak_tpm: "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQA=".into(),
        mtls_cert: Some("disabled".into()),
        ..AgentRecord::fresh(id(name))
    }
}

pub fn progress(name: &str, count: i64) -> Box<AgentProgress> {
    Box::new(AgentProgress {
        agent_id: id(name),
        operational_state: Some(3),
        public_key: "-----BEGIN PUBLIC KEY-----".into(),
        hash_alg: "sha256".into(),
        enc_alg: "rsa".into(),
        sign_alg: "rsassa".into(),
        supported_version: "2.6".into(),
        boottime: 1_763_890_000,
        ima_pcrs: vec![10],
        pcr10: Some((0..32).collect()),
        next_ima_ml_entry: 4321,
        learned_ima_keyrings: json!({".ima": ["ab"]}),
        severity_level: Some(6),
        last_event_id: Some("ima.validation.ima-ng.not_in_allowlist".into()),
        attestation_count: count,
        last_received_quote: 1_763_891_111,
        last_successful_attestation: 1_763_891_110,
        tpm_clockinfo: Some(json!({"clock": 4711, "resetcount": 3, "restartcount": 0, "safe": 1})),
        accept_attestations: true,
        consecutive_attestation_failures: 2,
        explanations: ExplanationChange::Keep,
    })
}

pub fn runtime(name: &str) -> NewRuntimePolicy {
    NewRuntimePolicy {
        name: name.into(),
        text: Some(format!(r#"{{"policy": "{name}"}}"#).into()),
        checksum: "ab".repeat(32),
        generator: 3,
        tpm_policy: None,
    }
}

pub fn boot(name: &str) -> NewBootPolicy {
    NewBootPolicy { name: name.into(), text: None }
}

/// An enrolment with policies of the agent's own.
pub fn enrol(name: &str) -> VerifierWrite {
    VerifierWrite::Enrol {
        agent: Box::new(agent(name)),
        runtime_policy: PolicyChoice::StoredOrNew(runtime(name)),
        boot_policy: PolicyChoice::StoredOrNew(boot(name)),
    }
}

fn enrol_with(
    name: &str,
    runtime_policy: PolicyChoice<NewRuntimePolicy>,
    boot_policy: PolicyChoice<NewBootPolicy>,
) -> VerifierWrite {
    VerifierWrite::Enrol { agent: Box::new(agent(name)), runtime_policy, boot_policy }
}

fn advance(name: &str, count: i64, outbox: Vec<OutboxRow>) -> VerifierWrite {
    VerifierWrite::Progress { progress: progress(name, count), outbox }
}

pub fn notice(number: u128, agent: &str, pending: &[&str]) -> OutboxRow {
    OutboxRow {
        id: Uuid::from_u128(number),
        agent_id: id(agent),
        kind: "revocation".into(),
        severity_label: "critical".into(),
        body: "{\"msg\": \"…\", \"signature\": \"none\"}".into(),
        created_us: 1_763_891_111_000_001,
        pending: pending.iter().map(|notifier| (*notifier).to_owned()).collect(),
    }
}

fn is_enrolled(outcome: &WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Enrolled { runtime_policy_id: Some(_), boot_policy_id: Some(_) })
}

async fn count(test: &TestDatabase, table: &str) -> i64 {
    let statement = format!("SELECT COUNT(*) AS n FROM {table}");
    let backend = test.db.reader().get_database_backend();
    let row = test.db.reader().query_one_raw(sea_orm::Statement::from_string(backend, statement)).await;
    row.unwrap().unwrap().try_get("", "n").unwrap()
}

async fn an_enrolled_agent_reads_back_as_it_was_written(test: TestDatabase) {
    let store = store(&test);
    let outcomes = store.write(vec![enrol("d432fbb3-d2f1-4a97-9ef7-75bd81c00000"), enrol("prüfling")]).await.unwrap();
    for (outcome, name) in outcomes.iter().zip(["d432fbb3-d2f1-4a97-9ef7-75bd81c00000", "prüfling"]) {
        let WriteOutcome::Enrolled { runtime_policy_id, boot_policy_id } = outcome else { panic!("{outcome:?}") };
        let stored = store.agent(name).await.unwrap().unwrap();
        let expected =
            AgentRecord { runtime_policy_id: *runtime_policy_id, boot_policy_id: *boot_policy_id, ..agent(name) };
        assert_eq!(stored, expected);
        let policy = store.runtime_policy_by_id(runtime_policy_id.unwrap()).await.unwrap().unwrap();
        assert_eq!((policy.name.as_str(), policy.text, policy.generator), (name, runtime(name).text, 3));
        assert_eq!(store.boot_policy_by_id(boot_policy_id.unwrap()).await.unwrap().unwrap().text, None);
    }
    assert_eq!(store.agent("nobody").await.unwrap(), None);
    assert_eq!(store.agent_ids(Some("default")).await.unwrap().len(), 2);
    assert_eq!(store.agent_ids(Some("other")).await.unwrap(), Vec::<String>::new());
}

async fn a_refused_enrolment_says_why_and_leaves_no_trace(test: TestDatabase) {
    let store = store(&test);
    store.create_runtime_policy(runtime("stored")).await.unwrap();
    store.create_boot_policy(boot("stored")).await.unwrap();
    let (new, stored) = (|name| PolicyChoice::New(runtime(name)), || PolicyChoice::Stored("stored".to_owned()));
    let batch = vec![
        enrol_with("first", stored(), PolicyChoice::Stored("stored".into())),
        enrol_with("first", new("trace-1"), PolicyChoice::New(boot("trace-1"))),
        enrol_with("second", new("stored"), PolicyChoice::New(boot("trace-2"))),
        enrol_with("second", PolicyChoice::Stored("absent".into()), PolicyChoice::New(boot("trace-3"))),
        enrol_with("second", new("trace-4"), PolicyChoice::New(boot("stored"))),
        enrol_with("second", new("trace-5"), PolicyChoice::Stored("absent".into())),
        enrol_with("second", new("fresh"), PolicyChoice::New(boot("fresh"))),
        enrol_with("third", new("fresh"), PolicyChoice::New(boot("trace-6"))),
    ];
    let outcomes = store.write(batch).await.unwrap();
    assert!(is_enrolled(&outcomes[0]) && is_enrolled(&outcomes[6]), "{outcomes:?}");
    assert_eq!(outcomes[1], WriteOutcome::AgentExists);
    assert_eq!(outcomes[2], WriteOutcome::RuntimePolicyExists("stored".into()));
    assert_eq!(outcomes[3], WriteOutcome::RuntimePolicyMissing("absent".into()));
    assert_eq!(outcomes[4], WriteOutcome::BootPolicyExists("stored".into()));
    assert_eq!(outcomes[5], WriteOutcome::BootPolicyMissing("absent".into()));
    assert_eq!(outcomes[7], WriteOutcome::RuntimePolicyExists("fresh".into()));
    assert_eq!(store.runtime_policy_names().await.unwrap(), ["stored", "fresh"]);
    assert_eq!(store.boot_policy_names().await.unwrap(), ["stored", "fresh"]);
    assert_eq!(store.agent_ids(None).await.unwrap(), ["first", "second"]);
    assert_eq!(store.write(vec![enrol("first")]).await.unwrap(), [WriteOutcome::AgentExists]);
    assert_eq!(store.runtime_policy("first").await.unwrap(), None);
}

async fn writes_of_one_batch_keep_their_order(test: TestDatabase) {
    let store = store(&test);
    let delete = |name| VerifierWrite::Delete { agent_id: id(name) };
    let set = |name, state| VerifierWrite::SetState { agent_id: id(name), state };
    let outcomes = store
        .write(vec![
            set("a", Some(7)),
            enrol("a"),
            advance("a", 1, vec![]),
            advance("a", 2, vec![]),
            set("a", Some(10)),
            advance("a", 3, vec![]),
            delete("a"),
            delete("a"),
            enrol("a"),
            set("a", None),
        ])
        .await
        .unwrap();
    let gone = |stored_state| WriteOutcome::Gone { stored_state };
    assert_eq!(outcomes[0], gone(None));
    assert!(is_enrolled(&outcomes[1]));
    assert_eq!(outcomes[2..5], [WriteOutcome::Written, WriteOutcome::Written, WriteOutcome::Written]);
    assert_eq!(outcomes[5], gone(Some(10)));
    assert_eq!(outcomes[6], WriteOutcome::Written);
    assert_eq!(outcomes[7], gone(None));
    assert!(is_enrolled(&outcomes[8]));
    let stored = store.agent("a").await.unwrap().unwrap();
    assert_eq!((stored.operational_state, stored.attestation_count), (None, 0));
    assert_eq!(store.write(vec![]).await.unwrap(), []);
}

async fn progress_spares_what_attestation_does_not_change(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a"), enrol("b")]).await.unwrap();
    let before = store.agent("a").await.unwrap().unwrap();
    let outcomes = store.write(vec![advance("a", 1, vec![]), advance("a", 2, vec![])]).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written, WriteOutcome::Written]);
    let change = progress("a", 2);
    let expected = AgentRecord {
        operational_state: Some(3),
        public_key: change.public_key.to_string(),
        hash_alg: "sha256".into(),
        enc_alg: "rsa".into(),
        sign_alg: "rsassa".into(),
        supported_version: "2.6".into(),
        boottime: change.boottime,
        ima_pcrs: vec![10],
        pcr10: change.pcr10,
        next_ima_ml_entry: 4321,
        learned_ima_keyrings: change.learned_ima_keyrings,
        severity_level: Some(6),
        last_event_id: change.last_event_id,
        attestation_count: 2,
        last_received_quote: change.last_received_quote,
        last_successful_attestation: change.last_successful_attestation,
        tpm_clockinfo: change.tpm_clockinfo,
        consecutive_attestation_failures: 2,
        ..before
    };
    assert_eq!(store.agent("a").await.unwrap().unwrap(), expected);
    assert_eq!(store.agent("b").await.unwrap().unwrap().attestation_count, 0);
}

async fn progress_of_a_stopped_or_deleting_agent_is_dropped_with_its_notices(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("stopped"), enrol("leaving"), enrol("live")]).await.unwrap();
    let set = |name, state| VerifierWrite::SetState { agent_id: id(name), state: Some(state) };
    store.write(vec![set("stopped", 10), set("leaving", 8), set("live", 7)]).await.unwrap();
    let outcomes = store
        .write(vec![
            advance("stopped", 9, vec![notice(1, "stopped", &["amqp"])]),
            advance("leaving", 9, vec![notice(2, "leaving", &["amqp"])]),
            advance("absent", 9, vec![notice(3, "absent", &["amqp"])]),
            advance("live", 9, vec![notice(4, "live", &["amqp"])]),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Gone { stored_state: Some(10) });
    assert_eq!(outcomes[1], WriteOutcome::Gone { stored_state: Some(8) });
    assert_eq!(outcomes[2], WriteOutcome::Gone { stored_state: None });
    assert_eq!(outcomes[3], WriteOutcome::Written);
    assert_eq!(store.agent("stopped").await.unwrap().unwrap().attestation_count, 0);
    assert_eq!(store.agent("absent").await.unwrap(), None);
    let pending = store.outbox_pending(10).await.unwrap();
    assert_eq!(pending, [notice(4, "live", &["amqp"])]);
}

async fn notices_wait_for_every_notifier_in_the_order_of_their_commit(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a"), enrol("b")]).await.unwrap();
    let (first, second) = (notice(9, "a", &["amqp", "webhook"]), notice(2, "b", &["amqp"]));
    let third = notice(5, "a", &["webhook"]);
    store.write(vec![advance("a", 1, vec![first.clone()]), advance("b", 1, vec![second.clone()])]).await.unwrap();
    // The same notice again, as after a commit that was not confirmed, and one that nobody waits for.
    let batch = vec![advance("a", 2, vec![third.clone(), first.clone(), notice(7, "a", &[])])];
    store.write(batch).await.unwrap();
    assert_eq!(store.outbox_pending(10).await.unwrap(), [first.clone(), second.clone(), third.clone()]);
    assert_eq!(store.outbox_pending(1).await.unwrap(), std::slice::from_ref(&first));

    let delivered = |id, notifier| VerifierWrite::OutboxDelivered { id, notifier };
    store.write(vec![delivered(second.id, "amqp"), delivered(first.id, "webhook")]).await.unwrap();
    assert_eq!(store.outbox_pending(10).await.unwrap(), [notice(9, "a", &["amqp"]), third.clone()]);
    // The agent may go; what was decided about it is still delivered.
    store.write(vec![VerifierWrite::Delete { agent_id: id("a") }]).await.unwrap();
    assert_eq!(store.outbox_pending(10).await.unwrap().len(), 2);
    let outcomes = store
        .write(vec![delivered(first.id, "amqp"), delivered(third.id, "webhook"), delivered(third.id, "webhook")])
        .await
        .unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written, WriteOutcome::Written, WriteOutcome::Written]);
    assert_eq!(store.outbox_pending(10).await.unwrap(), []);
    assert_eq!(count(&test, "revocation_outbox").await, 0);
    assert_eq!(count(&test, "revocation_outbox_deliveries").await, 0);
}

async fn explanations_last_from_a_failure_to_the_next_pass(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a"), enrol("b"), enrol("stopped")]).await.unwrap();
    let explanation = |text: &str| Explanation {
        event_id: "ima.validation.ima-ng.not_in_allowlist".into(),
        line: Some(4711),
        subject: Some("/tmp/größe\u{0}\u{1F600}".into()),
        expected: vec!["00".into(), "ff".into()],
        text: text.into(),
        ..Explanation::default()
    };
    let say = |name: &str, change| {
        let progress = Box::new(AgentProgress { explanations: change, ..*progress(name, 1) });
        VerifierWrite::Progress { progress, outbox: vec![] }
    };
    let fail = |name: &str, list: &[Explanation]| say(name, ExplanationChange::Replace(list.into()));
    store.write(vec![VerifierWrite::SetState { agent_id: id("stopped"), state: Some(10) }]).await.unwrap();
    let two = [explanation("one"), explanation("two")];
    store.write(vec![fail("a", &two[..1]), fail("a", &two), fail("b", &two), fail("stopped", &two)]).await.unwrap();
    store.write(vec![say("a", ExplanationChange::Keep)]).await.unwrap();
    assert_eq!(store.explanations("a").await.unwrap(), two);
    assert_eq!(store.explanations("stopped").await.unwrap(), [], "what was not written is not explained");

    // Longer than what a table holds is cut at a failure.
    let long = vec![explanation(&"x".repeat(20_000)); 64];
    store.write(vec![fail("a", &long)]).await.unwrap();
    let kept = store.explanations("a").await.unwrap();
    assert!((2..64).contains(&kept.len()) && kept.iter().all(|kept| *kept == long[0]), "{}", kept.len());

    store.write(vec![say("a", ExplanationChange::Clear), VerifierWrite::Delete { agent_id: id("b") }]).await.unwrap();
    assert_eq!((store.explanations("a").await.unwrap(), count(&test, "attestation_explanations").await), (vec![], 0));
    // Left behind by a service that does not know the table.
    let stray = "INSERT INTO attestation_explanations (agent_id, body) VALUES ('c', '[')";
    test.db.reader().execute_unprepared(stray).await.unwrap();
    assert_eq!(store.explanations("c").await.unwrap(), []);
    store.write(vec![enrol("c")]).await.unwrap();
    assert_eq!(count(&test, "attestation_explanations").await, 0);
}

async fn deletion_takes_evidence_along_and_keeps_policies_that_others_use(test: TestDatabase) {
    let store = store(&test);
    let borrowed = enrol_with("borrower", PolicyChoice::Stored("owner".into()), PolicyChoice::Stored("owner".into()));
    store.write(vec![enrol("owner"), borrowed, enrol("loner")]).await.unwrap();
    let quote = |name: &str| match test.db.engine() {
        Engine::MySql => format!("`{name}`"),
        Engine::Sqlite | Engine::Postgres => format!("\"{name}\""),
    };
    for statement in [
        format!(
            "INSERT INTO attestations (agent_id, {}, system_info__boot_time, capabilities_received_at) \
             VALUES ('loner', 0, '2026', '2026'), ('owner', 3, '2026', '2026')",
            quote("index")
        ),
        "INSERT INTO evidence_items (agent_id, attestation_index, evidence_class, evidence_type) \
         VALUES ('loner', 0, 'log', 'ima_log'), ('loner', 0, 'certification', 'tpm_quote')"
            .to_owned(),
    ] {
        test.db.reader().execute_unprepared(&statement).await.unwrap();
    }
    let delete = |name| VerifierWrite::Delete { agent_id: id(name) };
    let outcomes = store.write(vec![delete("loner"), delete("owner"), delete("absent")]).await.unwrap();
    assert_eq!(outcomes[..2], [WriteOutcome::Written, WriteOutcome::Written]);
    assert_eq!(outcomes[2], WriteOutcome::Gone { stored_state: None });
    assert_eq!(store.agent_ids(None).await.unwrap(), ["borrower"]);
    assert_eq!(store.runtime_policy_names().await.unwrap(), ["owner"]);
    assert_eq!(store.boot_policy_names().await.unwrap(), ["owner"]);
    assert_eq!((count(&test, "attestations").await, count(&test, "evidence_items").await), (0, 0));
}

async fn policies_are_created_replaced_and_deleted_by_their_rules(test: TestDatabase) {
    let store = store(&test);
    store.create_runtime_policy(runtime("p")).await.unwrap();
    assert!(matches!(store.create_runtime_policy(runtime("p")).await, Err(PolicyStoreError::Exists)));
    assert!(matches!(store.update_runtime_policy(runtime("q")).await, Err(PolicyStoreError::Missing)));
    assert!(matches!(store.delete_runtime_policy("q").await, Err(PolicyStoreError::Missing)));
    store.create_boot_policy(boot("p")).await.unwrap();
    assert!(matches!(store.create_boot_policy(boot("p")).await, Err(PolicyStoreError::Exists)));
    let use_both = |name| enrol_with(name, PolicyChoice::Stored("p".into()), PolicyChoice::Stored("p".into()));
    store.write(vec![use_both("b"), use_both("a")]).await.unwrap();

    // Longer than MySQL's TEXT, and longer than one group of rows.
    let text: std::sync::Arc<str> = "x".repeat(2 << 20).into();
    let changed = NewRuntimePolicy {
        text: Some(text.clone()),
        checksum: "cd".repeat(32),
        generator: 0,
        tpm_policy: Some("{}".into()),
        ..runtime("p")
    };
    assert_eq!(store.update_runtime_policy(changed).await.unwrap(), [id("a"), id("b")]);
    let stored = store.runtime_policy("p").await.unwrap().unwrap();
    assert_eq!((stored.text, stored.generator, stored.tpm_policy), (Some(text), 0, Some("{}".into())));
    assert_eq!(stored.checksum, "cd".repeat(32));
    let users = store.update_boot_policy(NewBootPolicy { name: "p".into(), text: Some("{}".into()) }).await.unwrap();
    assert_eq!(users.len(), 2);
    assert_eq!(store.boot_policy("p").await.unwrap().unwrap().text.as_deref(), Some("{}"));

    let in_use = store.delete_runtime_policy("p").await;
    assert!(matches!(&in_use, Err(PolicyStoreError::InUse(agent)) if agent == "a"), "{in_use:?}");
    assert!(matches!(store.delete_boot_policy("p").await, Err(PolicyStoreError::InUse(_))));
    let delete = |name| VerifierWrite::Delete { agent_id: id(name) };
    store.write(vec![delete("a"), delete("b")]).await.unwrap();
    store.delete_runtime_policy("p").await.unwrap();
    store.delete_boot_policy("p").await.unwrap();
    assert_eq!(store.runtime_policy("p").await.unwrap(), None);
    assert_eq!(store.boot_policy("p").await.unwrap(), None);
}

async fn policies_that_say_anything_are_told_apart_without_their_texts(test: TestDatabase) {
    let store = store(&test);
    let none = NewRuntimePolicy { text: None, generator: 1, ..runtime("none") };
    store.create_runtime_policy(none).await.unwrap();
    store.create_runtime_policy(runtime("supplied")).await.unwrap();
    store.create_boot_policy(boot("none")).await.unwrap();
    store.create_boot_policy(NewBootPolicy { text: Some("".into()), ..boot("empty") }).await.unwrap();
    let mut rows = Vec::new();
    for name in ["none", "supplied"] {
        rows.push(store.runtime_policy(name).await.unwrap().unwrap().id);
    }
    let mut boots = Vec::new();
    for name in ["none", "empty"] {
        boots.push(store.boot_policy(name).await.unwrap().unwrap().id);
    }
    // More ids than fit in one statement, most of them of no row.
    let asked = |known: &[i32]| Vec::from_iter(known.iter().copied().chain(100_000..101_200));
    let stated = store.stated_policies(&asked(&rows), &asked(&boots)).await.unwrap();
    assert_eq!(stated, StatedPolicies { runtime: [rows[1]].into(), boot: [boots[1]].into() });
    assert_eq!(store.stated_policies(&[], &[]).await.unwrap(), StatedPolicies::default());
    let others = store.stated_policies(&rows[..1], &boots[..1]).await.unwrap();
    assert_eq!(others, StatedPolicies::default());
}

async fn a_row_that_cannot_be_stored_is_refused_alone(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a"), enrol("b")]).await.unwrap();
    let mut wide = agent("wide");
    wide.ak_tpm = "A".repeat(501);
    let wide = VerifierWrite::Enrol {
        agent: Box::new(wide),
        runtime_policy: PolicyChoice::New(runtime("wide")),
        boot_policy: PolicyChoice::New(boot("wide")),
    };
    let mut long = progress("b", 5);
    long.public_key = "k".repeat(501).into();
    let long = VerifierWrite::Progress { progress: long, outbox: vec![notice(1, "b", &["amqp"])] };
    let outcomes = store.write(vec![wide, advance("a", 5, vec![]), long, enrol("c")]).await.unwrap();
    assert_eq!(outcomes[1], WriteOutcome::Written);
    assert!(is_enrolled(&outcomes[3]));
    assert_eq!(store.agent("a").await.unwrap().unwrap().attestation_count, 5);
    match test.db.engine() {
        // SQLite does not enforce the width of a column.
        Engine::Sqlite => assert!(is_enrolled(&outcomes[0])),
        Engine::Postgres | Engine::MySql => {
            assert!(matches!(outcomes[0], WriteOutcome::Refused(_)), "{:?}", outcomes[0]);
            assert!(matches!(outcomes[2], WriteOutcome::Refused(_)), "{:?}", outcomes[2]);
            assert_eq!(store.runtime_policy("wide").await.unwrap(), None);
            assert_eq!(store.agent("b").await.unwrap().unwrap().attestation_count, 0);
            assert_eq!(store.outbox_pending(9).await.unwrap(), []);
        }
    }
}

async fn of_two_processes_exactly_one_enrols_an_agent(test: TestDatabase) {
    let (one, other) = (store(&test), SqlVerifierStore::new(test.opened_again().await));
    for round in 0..10 {
        let name = format!("agent-{round}");
        let named = |policy: &str| {
            enrol_with(&name, PolicyChoice::New(runtime(policy)), PolicyChoice::StoredOrNew(boot(&name)))
        };
        let policy = format!("policy-{round}");
        let (left, right) = tokio::join!(
            one.write(vec![named(&policy), enrol(&format!("left-{round}"))]),
            other.write(vec![enrol(&format!("right-{round}")), named(&policy)])
        );
        let (left, right) = (left.unwrap(), right.unwrap());
        assert!(is_enrolled(&left[1]) && is_enrolled(&right[0]), "{left:?} {right:?}");
        assert!(is_enrolled(&left[0]) ^ is_enrolled(&right[1]), "{left:?} {right:?}");
        let loser = if is_enrolled(&left[0]) { &right[1] } else { &left[0] };
        assert_eq!(*loser, WriteOutcome::RuntimePolicyExists(policy));
    }
    assert_eq!(one.agent_ids(None).await.unwrap().len(), 30);
}

async fn pages_cover_all_agents_of_a_verifier_once(test: TestDatabase) {
    let store = store(&test);
    let names: Vec<String> = (0..23).map(|number| format!("agent-{number:02}")).collect();
    let batch = names
        .iter()
        .map(|name| {
            let mut agent = agent(name);
            agent.verifier_id = if name.ends_with('3') { "other".into() } else { "default".into() };
            VerifierWrite::Enrol {
                agent: Box::new(agent),
                runtime_policy: PolicyChoice::StoredOrNew(runtime("shared")),
                boot_policy: PolicyChoice::StoredOrNew(boot("shared")),
            }
        })
        .collect();
    store.write(batch).await.unwrap();
    for (verifier, expected) in [(None, 23), (Some("default"), 21), (Some("other"), 2)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.agents_page(verifier, after.as_deref(), 5).await.unwrap();
            assert_eq!(page.bad, []);
            seen.extend(page.agents.into_iter().map(|agent| agent.agent_id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((seen.len(), sorted.len()), (expected, expected), "{verifier:?}");
    }
    let nothing = store.agents_page(None, None, 0).await.unwrap();
    assert_eq!((nothing.agents.len(), nothing.next), (0, None));
}

async fn large_batches_are_applied_completely(test: TestDatabase) {
    let store = store(&test);
    let names: Vec<String> = (0..700).map(|number| format!("agent-{number}")).collect();
    let outcomes = store.write(names.iter().map(|name| enrol(name)).collect()).await.unwrap();
    assert!(outcomes.iter().all(is_enrolled));
    let advanced: Vec<_> = (0_u128..)
        .zip(&names)
        .map(|(number, name)| advance(name, 1, vec![notice(number, name, &["amqp", "webhook", "agent"])]))
        .collect();
    let outcomes = store.write(advanced).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == WriteOutcome::Written));
    let pending = store.outbox_pending(1000).await.unwrap();
    assert_eq!(pending.len(), 700);
    assert!((0_u128..).zip(&pending).all(|(number, row)| row.id == Uuid::from_u128(number) && row.pending.len() == 3));
    let delivered = pending.iter().flat_map(|row| {
        ["amqp", "webhook", "agent"].map(|notifier| VerifierWrite::OutboxDelivered { id: row.id, notifier })
    });
    store.write(delivered.collect()).await.unwrap();
    assert_eq!(store.outbox_pending(1000).await.unwrap(), []);
    store.write(names.iter().map(|name| VerifierWrite::Delete { agent_id: id(name) }).collect()).await.unwrap();
    assert_eq!(store.agent_ids(None).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.runtime_policy_names().await.unwrap(), Vec::<String>::new());
}

async fn names_that_differ_in_case_are_different(test: TestDatabase) {
    let store = store(&test);
    let outcomes = store.write(vec![enrol("Agent"), enrol("agent")]).await.unwrap();
    assert!(outcomes.iter().all(is_enrolled), "{outcomes:?}");
    store.write(vec![VerifierWrite::Delete { agent_id: id("agent") }]).await.unwrap();
    assert!(store.agent("Agent").await.unwrap().is_some());
    assert!(store.agent("agent").await.unwrap().is_none());
    assert_eq!(store.runtime_policy_names().await.unwrap(), ["Agent"]);
}
