//! The registrar system from outside, over a store in memory: one decision per id at a time, one winner per race, nothing
//! kept of a wrong tag.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::ports::{RegistrarStore as _, RegistrationRecord};
use keylime_actors::registrar::memory_store::MemoryRegistrarStore;
use keylime_actors::registrar::{
    ActivateError, DeleteError, RegisterAgent, RegisterError, RegistrarHandle, RegistrarOptions, start,
};
use keylime_engine::identity::credential_challenge::auth_tag;
use keylime_engine::ids::AgentId;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

const DATA: &str = include_str!("data/registration.json");

fn members(changes: Value) -> Map<String, Value> {
    let data: Value = serde_json::from_str(DATA).unwrap();
    let mut members = data["register_body"].as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members
}

fn other_ak() -> Value {
    serde_json::from_str::<Value>(DATA).unwrap()["other_aik_tpm"].clone()
}

fn request(agent_id: &str, changes: Value) -> RegisterAgent {
    RegisterAgent { agent_id: agent_id.to_owned(), members: members(changes) }
}

fn system(store: &Arc<MemoryRegistrarStore>) -> RegistrarHandle {
    let options = RegistrarOptions { shards: 0, cpu_threads: 0, ..RegistrarOptions::default() };
    start(options, Arc::clone(store) as _).unwrap()
}

async fn stored(store: &MemoryRegistrarStore, agent_id: &str) -> Option<RegistrationRecord> {
    store.registration(agent_id).await.unwrap()
}

/// The tag that the right TPM would send; the store stands in for the TPM that decrypts the challenge.
async fn right_tag(store: &MemoryRegistrarStore, agent_id: &str) -> String {
    let key = stored(store, agent_id).await.unwrap().key.unwrap();
    auth_tag(&STANDARD.decode(key).unwrap(), &AgentId::parse(agent_id).unwrap())
}

#[actix::test]
async fn a_machine_registers_activates_registers_again_and_is_deleted() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    let blob = registrar.register(request("a", json!({}))).await.unwrap();
    assert_eq!(STANDARD.decode(blob).unwrap().len(), 336);
    assert!(!registrar.registration("a").await.unwrap().unwrap().active);
    registrar.activate("a", &right_tag(&store, "a").await).await.unwrap();
    registrar.activate("a", &right_tag(&store, "a").await).await.unwrap();
    assert!(stored(&store, "a").await.unwrap().active);

    registrar.register(request("a", json!({}))).await.unwrap();
    let again = stored(&store, "a").await.unwrap();
    assert_eq!((again.regcount, again.active), (2, false));
    assert_eq!(registrar.registration_ids().await.unwrap(), ["a"]);

    registrar.delete("a").await.unwrap();
    assert!(matches!(registrar.delete("a").await, Err(DeleteError::NotFound)));
    assert!(matches!(registrar.activate("a", "00").await, Err(ActivateError::NotFound)));
}

#[actix::test]
async fn cve_2023_38201_a_wrong_tag_destroys_the_challenge_and_tells_nothing() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    registrar.register(request("a", json!({}))).await.unwrap();
    let right = right_tag(&store, "a").await;
    let error = registrar.activate("a", "00").await.unwrap_err();
    assert!(matches!(error, ActivateError::WrongTag));
    assert!(!format!("{error} {error:?}").contains(&right));
    assert!(stored(&store, "a").await.is_none());
    assert!(matches!(registrar.activate("a", &right).await, Err(ActivateError::NotFound)));
}

#[actix::test]
async fn cve_2025_13609_of_two_racing_identities_exactly_one_wins() {
    let store = Arc::new(MemoryRegistrarStore::default());
    // Two processes over one database.
    let (one, two) = (system(&store), system(&store));
    let (first, second) =
        tokio::join!(one.register(request("a", json!({}))), two.register(request("a", json!({"aik_tpm": other_ak()}))));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let refused = first.err().or(second.err()).unwrap();
    assert!(matches!(refused, RegisterError::IdentityChanged), "{refused:?}");
    let winner = stored(&store, "a").await.unwrap();
    assert_eq!(winner.regcount, 1);
}

#[actix::test]
async fn requests_for_one_id_take_turns() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    let requests = (0..20).map(|_| registrar.register(request("a", json!({}))));
    for outcome in futures_util::future::join_all(requests).await {
        outcome.unwrap();
    }
    assert_eq!(stored(&store, "a").await.unwrap().regcount, 20);
}

#[actix::test]
async fn registrations_at_one_time_share_transactions() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    let ids: Vec<String> = (0..100).map(|n| format!("agent-{n}")).collect();
    let requests = ids.iter().map(|id| registrar.register(request(id, json!({}))));
    for outcome in futures_util::future::join_all(requests).await {
        outcome.unwrap();
    }
    assert!(store.commits() <= 10, "{} transactions", store.commits());
}

#[actix::test]
async fn an_activation_needs_no_reading_after_the_registration() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    registrar.register(request("a", json!({}))).await.unwrap();
    let tag = right_tag(&store, "a").await;
    let reads = store.reads();
    registrar.activate("a", &tag).await.unwrap();
    assert_eq!(store.reads(), reads);
}

#[actix::test]
async fn a_first_registration_needs_no_reading() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    tokio::time::sleep(Duration::from_millis(5)).await;
    registrar.register(request("a", json!({}))).await.unwrap();
    assert_eq!(store.reads(), 0);
    // Rows of the past and of other processes are found all the same.
    let restarted = system(&store);
    tokio::time::sleep(Duration::from_millis(5)).await;
    restarted.register(request("a", json!({}))).await.unwrap();
    restarted.register(request("b", json!({}))).await.unwrap();
    registrar.register(request("b", json!({}))).await.unwrap();
    assert_eq!(stored(&store, "a").await.unwrap().regcount, 2);
    assert_eq!(stored(&store, "b").await.unwrap().regcount, 2);
}

#[actix::test]
async fn what_another_process_wrote_counts_more_than_what_is_remembered() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let (one, two) = (system(&store), system(&store));
    one.register(request("a", json!({}))).await.unwrap();
    two.register(request("a", json!({}))).await.unwrap();
    // The challenge is the other process's by now; its tag must not look wrong here.
    one.activate("a", &right_tag(&store, "a").await).await.unwrap();
    let row = stored(&store, "a").await.unwrap();
    assert_eq!((row.regcount, row.active), (2, true));
    two.delete("a").await.unwrap();
    assert!(matches!(one.activate("a", "00").await, Err(ActivateError::NotFound)));
}

#[actix::test]
async fn a_database_that_is_away_is_reported_and_forgiven() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    store.set_away(true);
    assert!(matches!(registrar.register(request("a", json!({}))).await, Err(RegisterError::Store(_))));
    store.set_away(false);
    registrar.register(request("a", json!({}))).await.unwrap();
    let tag = right_tag(&store, "a").await;
    store.set_away(true);
    assert!(matches!(registrar.activate("a", &tag).await, Err(ActivateError::Store(_))));
    store.set_away(false);
    registrar.activate("a", &tag).await.unwrap();
}

#[actix::test]
async fn cve_2022_23949_ids_that_could_forge_a_log_line_are_refused() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let registrar = system(&store);
    for id in ["a\nb", "a/b", "", &"x".repeat(81)] {
        let refused = registrar.register(request(id, json!({}))).await;
        assert!(matches!(refused, Err(RegisterError::Invalid(_))), "{id:?}");
    }
    assert!(store.registration_ids().await.unwrap().is_empty());
}

#[actix::test]
async fn more_than_the_admission_bound_is_answered_busy() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let options = RegistrarOptions { shards: 0, cpu_threads: 0, max_in_flight: 2, ..RegistrarOptions::default() };
    let registrar = start(options, Arc::clone(&store) as _).unwrap();
    let requests = (0..10).map(|n| {
        let (registrar, id) = (registrar.clone(), format!("agent-{n}"));
        async move { registrar.register(request(&id, json!({}))).await }
    });
    let outcomes = futures_util::future::join_all(requests).await;
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(RegisterError::Busy { .. }))).count();
    assert_eq!((busy, outcomes.iter().filter(|outcome| outcome.is_ok()).count()), (8, 2));
    registrar.register(request("later", json!({}))).await.unwrap();
}

#[actix::test]
async fn shutdown_answers_what_is_under_way_and_refuses_the_rest() {
    let store = Arc::new(MemoryRegistrarStore::default());
    let options = RegistrarOptions { shards: 2, cpu_threads: 1, ..RegistrarOptions::default() };
    let registrar = start(options, Arc::clone(&store) as _).unwrap();
    let under_way = (0..50).map(|n| {
        let (registrar, id) = (registrar.clone(), format!("agent-{n}"));
        actix_rt::spawn(async move { registrar.register(request(&id, json!({}))).await })
    });
    let under_way: Vec<_> = under_way.collect();
    tokio::time::sleep(Duration::from_millis(2)).await;
    registrar.shutdown(Duration::from_secs(10)).await;
    assert!(!registrar.ready());
    assert!(matches!(registrar.register(request("late", json!({}))).await, Err(RegisterError::Busy { .. })));
    let mut accepted = 0;
    for outcome in under_way {
        accepted += usize::from(outcome.await.unwrap().is_ok());
    }
    assert_eq!(store.registration_ids().await.unwrap().len(), accepted);
}
