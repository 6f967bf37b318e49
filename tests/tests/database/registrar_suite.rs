//! The registrar's store: registrations, races between identities, deletion.

use crate::engines::TestDatabase;
use crate::on_every_engine;
use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::ports::{RegistrarStore as _, RegistrationOutcome, RegistrationRecord};
use keylime_schema::database::Engine;
use serde_json::json;

on_every_engine!(Registrar;
    a_registration_reads_back_as_it_was_written,
    cve_2025_13609_of_two_racing_identities_exactly_one_wins,
    cve_2025_13609_a_registration_that_changed_meanwhile_is_not_overwritten,
    registrations_of_one_batch_keep_their_order,
    deletion_answers_what_existed,
    a_registration_that_cannot_be_stored_is_refused_alone,
    large_batches_are_registered_completely,
);

fn store(test: &TestDatabase) -> SqlRegistrarStore {
    SqlRegistrarStore::new(test.db.clone())
}

pub fn registration(name: &str, ek: &str) -> RegistrationRecord {
    RegistrationRecord {
        agent_id: name.into(),
        key: Some("3pRDpQzYqVwQ3+cwXFVBp5xZ1fn5lk1F1RkNcaNGZ6k=".into()),
        aik_tpm: Some("QUlL".into()),
        ek_tpm: Some(ek.into()),
        ekcert: None,
        iak_tpm: None,
        iak_cert: Some("MIIC".into()),
        idevid_tpm: Some("SURldklE".into()),
        idevid_cert: None,
        mtls_cert: Some("disabled".into()),
        ip: Some("10.0.0.7".into()),
        port: Some(9002),
        regcount: 1,
        active: false,
        is_virtual: None,
        provider_keys: None,
    }
}

async fn register_new(store: &SqlRegistrarStore, record: RegistrationRecord) -> RegistrationOutcome {
    store.register(vec![(None, record)]).await.unwrap().remove(0)
}

async fn a_registration_reads_back_as_it_was_written(test: TestDatabase) {
    let store = store(&test);
    let first = registration("a", "RUs=");
    assert_eq!(register_new(&store, first.clone()).await, RegistrationOutcome::Written);
    assert_eq!(store.registration("a").await.unwrap(), Some(first.clone()));
    let active = RegistrationRecord {
        active: true,
        ekcert: Some("MIIB".into()),
        is_virtual: Some(true),
        provider_keys: Some(json!({"k": "ü"})),
        regcount: 2,
        ..first.clone()
    };
    let outcomes = store.register(vec![(Some(first), active.clone())]).await.unwrap();
    assert_eq!(outcomes, [RegistrationOutcome::Written]);
    assert_eq!(store.registration("a").await.unwrap(), Some(active.clone()));
    // Writing the same again is a write, also where the engine finds nothing to change.
    assert_eq!(store.register(vec![(Some(active.clone()), active)]).await.unwrap(), [RegistrationOutcome::Written]);
    assert_eq!(store.registration("b").await.unwrap(), None);
    assert_eq!(store.registration_ids().await.unwrap(), ["a"]);
}

async fn cve_2025_13609_of_two_racing_identities_exactly_one_wins(test: TestDatabase) {
    let (one, other) = (store(&test), SqlRegistrarStore::new(test.opened_again().await));
    for round in 0..20 {
        let name = format!("agent-{round}");
        // Base64 of different keys that a comparison without case would take for the same.
        let (left, right) = (registration(&name, "QUJD"), registration(&name, "qujd"));
        let (first, second) =
            tokio::join!(one.register(vec![(None, left.clone())]), other.register(vec![(None, right.clone())]));
        let (first, second) = (first.unwrap().remove(0), second.unwrap().remove(0));
        let winner = if first == RegistrationOutcome::Written { left } else { right };
        assert!(
            (first == RegistrationOutcome::Written) ^ (second == RegistrationOutcome::Written),
            "{first:?} {second:?}"
        );
        assert_eq!(one.registration(&name).await.unwrap(), Some(winner.clone()));

        let next = |ip: &str| RegistrationRecord { regcount: 2, ip: Some(ip.into()), ..winner.clone() };
        let seen = || Some(winner.clone());
        let (first, second) = tokio::join!(
            one.register(vec![(seen(), next("10.0.0.1"))]),
            other.register(vec![(seen(), next("10.0.0.2"))])
        );
        let (first, second) = (first.unwrap().remove(0), second.unwrap().remove(0));
        assert!(
            (first == RegistrationOutcome::Written) ^ (second == RegistrationOutcome::Written),
            "{first:?} {second:?}"
        );
    }
}

async fn cve_2025_13609_a_registration_that_changed_meanwhile_is_not_overwritten(test: TestDatabase) {
    let store = store(&test);
    let stored = RegistrationRecord { ekcert: Some("TUlJQg==".into()), ..registration("a", "RUsx") };
    assert_eq!(register_new(&store, stored.clone()).await, RegistrationOutcome::Written);
    let attempts = [
        RegistrationRecord { ek_tpm: Some("rUSX".into()), ..stored.clone() },
        RegistrationRecord { ek_tpm: Some("RUsx ".into()), ..stored.clone() },
        RegistrationRecord { ek_tpm: None, ..stored.clone() },
        RegistrationRecord { ekcert: None, ..stored.clone() },
        RegistrationRecord { ekcert: Some("tuljqg==".into()), ..stored.clone() },
        RegistrationRecord { aik_tpm: Some("QUIL".into()), ..stored.clone() },
        RegistrationRecord { regcount: 0, ..stored.clone() },
        RegistrationRecord { regcount: 2, ..stored.clone() },
    ];
    for seen in attempts {
        let forged = RegistrationRecord { mtls_cert: Some("forged".into()), ..seen.clone() };
        let outcome = store.register(vec![(Some(seen.clone()), forged)]).await.unwrap();
        assert_eq!(outcome, [RegistrationOutcome::Conflict], "{seen:?}");
    }
    let absent = registration("b", "RUsx");
    assert_eq!(store.register(vec![(Some(absent.clone()), absent)]).await.unwrap(), [RegistrationOutcome::Conflict]);
    assert_eq!(register_new(&store, registration("a", "RUsy")).await, RegistrationOutcome::Conflict);
    assert_eq!(store.registration("a").await.unwrap(), Some(stored));
    assert_eq!(store.registration_ids().await.unwrap(), ["a"]);
}

async fn registrations_of_one_batch_keep_their_order(test: TestDatabase) {
    let store = store(&test);
    let first = registration("a", "RUs=");
    let second = RegistrationRecord { regcount: 2, ..first.clone() };
    let outcomes = store
        .register(vec![
            (Some(first.clone()), second.clone()),
            (None, first.clone()),
            (None, second.clone()),
            (Some(first.clone()), second.clone()),
            (Some(first.clone()), second.clone()),
        ])
        .await
        .unwrap();
    use RegistrationOutcome::{Conflict, Written};
    assert_eq!(outcomes, [Conflict, Written, Conflict, Written, Conflict]);
    assert_eq!(store.registration("a").await.unwrap(), Some(second));
}

async fn deletion_answers_what_existed(test: TestDatabase) {
    let store = store(&test);
    store.register(vec![(None, registration("a", "RUs=")), (None, registration("b", "RUs="))]).await.unwrap();
    let ids = ["a", "x", "a"].map(str::to_owned).to_vec();
    assert_eq!(store.delete(ids).await.unwrap(), [true, false, false]);
    assert_eq!(store.registration_ids().await.unwrap(), ["b"]);
    assert_eq!(store.delete(vec![]).await.unwrap(), Vec::<bool>::new());
}

async fn a_registration_that_cannot_be_stored_is_refused_alone(test: TestDatabase) {
    let store = store(&test);
    let wide = RegistrationRecord { ip: Some("a-very-long-host-name.example".into()), ..registration("wide", "RUs=") };
    let outcomes = store
        .register(vec![(None, registration("a", "RUs=")), (None, wide), (None, registration("b", "RUs="))])
        .await
        .unwrap();
    assert_eq!((&outcomes[0], &outcomes[2]), (&RegistrationOutcome::Written, &RegistrationOutcome::Written));
    match test.db.engine() {
        // SQLite does not enforce the width of a column.
        Engine::Sqlite => assert_eq!(outcomes[1], RegistrationOutcome::Written),
        Engine::Postgres | Engine::MySql => {
            assert!(matches!(outcomes[1], RegistrationOutcome::Refused(_)), "{:?}", outcomes[1]);
            assert_eq!(store.registration_ids().await.unwrap(), ["a", "b"]);
        }
    }
}

async fn large_batches_are_registered_completely(test: TestDatabase) {
    let store = store(&test);
    let records: Vec<_> = (0..600).map(|number| registration(&format!("agent-{number}"), "RUs=")).collect();
    let outcomes = store.register(records.iter().map(|record| (None, record.clone())).collect()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == RegistrationOutcome::Written));
    assert_eq!(store.registration_ids().await.unwrap().len(), 600);
    let gone = store.delete(records.into_iter().map(|record| record.agent_id).collect()).await.unwrap();
    assert!(gone.into_iter().all(|existed| existed));
    assert_eq!(store.registration_ids().await.unwrap(), Vec::<String>::new());
}
