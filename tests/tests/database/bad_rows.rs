//! Rows that no current program writes: one of them never hides the others (CVE-2025-1057).

use crate::engines::TestDatabase;
use crate::registrar_suite::registration;
use crate::verifier_suite::enrol;
use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{RegistrarStore as _, StoreError, VerifierStore as _};
use keylime_schema::database::Service;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

#[tokio::test]
async fn cve_2025_1057_bad_agents_are_named_and_the_others_served() {
    let test = TestDatabase::sqlite(Service::Verifier).await;
    let store = SqlVerifierStore::new(test.db.clone());
    let names: Vec<String> = (0..1000).map(|number| format!("agent-{number:04}")).collect();
    store.write(names.iter().map(|name| enrol(name)).collect()).await.unwrap();
    for statement in [
        "UPDATE verifiermain SET learned_ima_keyrings = '{' WHERE agent_id = 'agent-0007'",
        "UPDATE verifiermain SET port = 'many' WHERE agent_id = 'agent-0100'",
        "UPDATE verifiermain SET public_key = x'ff00' WHERE agent_id = 'agent-0500'",
        "UPDATE verifiermain SET operational_state = 9999999999 WHERE agent_id = 'agent-0501'",
        "UPDATE verifiermain SET agent_id = 'agent-0600 with a space' WHERE agent_id = 'agent-0600'",
        "UPDATE verifiermain SET agent_id = x'fffe' WHERE agent_id = 'agent-0999'",
    ] {
        test.db.reader().execute_unprepared(statement).await.unwrap();
    }
    let (mut agents, mut bad, mut after) = (0, Vec::new(), None);
    loop {
        let page = store.agents_page(None, after.as_deref(), 100).await.unwrap();
        agents += page.agents.len();
        bad.extend(page.bad);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(agents, 994);
    let reasons: Vec<(&str, &str)> = bad.iter().map(|(id, reason)| (id.as_str(), reason.as_str())).collect();
    assert_eq!(reasons.len(), 6, "{reasons:?}");
    assert_eq!(reasons[0].0, "agent-0007");
    assert!(reasons[0].1.starts_with("learned_ima_keyrings: not JSON"), "{}", reasons[0].1);
    assert_eq!(reasons[1], ("agent-0100", "port is not a whole number"));
    assert_eq!(reasons[2], ("agent-0500", "public_key is not UTF-8"));
    assert_eq!(reasons[3], ("agent-0501", "operational_state is out of range"));
    assert_eq!(reasons[4].0, "agent-0600 with a space");
    assert_eq!(reasons[5].0, "");
    let alone = store.agent("agent-0100").await;
    assert!(matches!(&alone, Err(StoreError::Internal(text)) if text.contains("port")), "{alone:?}");
}

#[tokio::test]
async fn unusual_but_clear_values_are_understood() {
    let test = TestDatabase::sqlite(Service::Verifier).await;
    let store = SqlVerifierStore::new(test.db.clone());
    store.write(vec![enrol("a"), enrol("b")]).await.unwrap();
    for statement in [
        r#"UPDATE verifiermain SET tpm_policy = '{"mask": "0x400"}', learned_ima_keyrings = 'null', ima_pcrs = '"[10]"',
           accept_tpm_hash_algs = NULL, tpm_clockinfo = '"{\"clock\": 1}"', port = '9003', boottime = 12.0,
           attestation_count = NULL, consecutive_attestation_failures = NULL, accept_attestations = 0,
           public_key = NULL, supported_version = NULL, last_received_quote = 4102444800 WHERE agent_id = 'a'"#,
        "UPDATE verifiermain SET tpm_policy = 'null', tpm_clockinfo = 'null' WHERE agent_id = 'b'",
        "UPDATE allowlists SET checksum = NULL",
    ] {
        test.db.reader().execute_unprepared(statement).await.unwrap();
    }
    let agent = store.agent("a").await.unwrap().unwrap();
    assert_eq!(agent.tpm_policy, r#"{"mask": "0x400"}"#);
    assert_eq!((agent.learned_ima_keyrings, agent.tpm_clockinfo), (json!({}), Some(json!({"clock": 1}))));
    assert_eq!((agent.ima_pcrs, agent.port, agent.boottime, agent.attestation_count), (vec![10], Some(9003), 12, 0));
    assert_eq!((agent.accept_attestations, agent.last_received_quote), (false, 4_102_444_800));
    assert_eq!((agent.public_key.as_str(), agent.accept_tpm_hash_algs.len()), ("", 0));
    let agent = store.agent("b").await.unwrap().unwrap();
    assert_eq!((agent.tpm_policy.as_str(), agent.tpm_clockinfo), ("", None));
    let one = store.runtime_policy("a").await.unwrap().unwrap();
    let other = store.runtime_policy("b").await.unwrap().unwrap();
    assert_eq!(one.checksum.len(), 64);
    assert_ne!(one.checksum, other.checksum);
}

#[tokio::test]
async fn cve_2025_1057_old_forms_of_a_registration_are_read() {
    let test = TestDatabase::sqlite(Service::Registrar).await;
    let store = SqlRegistrarStore::new(test.db.clone());
    let batch = ["a", "b", "c"].map(|name| (None, registration(name, "RUs=")));
    store.register(batch.to_vec()).await.unwrap();
    for statement in [
        r#"UPDATE registrarmain SET provider_keys = '"{}"', active = 1, "virtual" = 0, regcount = NULL WHERE agent_id = 'a'"#,
        "UPDATE registrarmain SET provider_keys = 'not JSON', port = '9002' WHERE agent_id = 'b'",
        "UPDATE registrarmain SET port = 'none' WHERE agent_id = 'c'",
    ] {
        test.db.reader().execute_unprepared(statement).await.unwrap();
    }
    let old = store.registration("a").await.unwrap().unwrap();
    assert_eq!((old.provider_keys.as_ref(), old.active, old.is_virtual), (Some(&json!({})), true, Some(false)));
    assert_eq!(old.regcount, 0);
    let next = keylime_actors::ports::RegistrationRecord { regcount: 1, ..old.clone() };
    let outcomes = store.register(vec![(Some(old), next)]).await.unwrap();
    assert_eq!(outcomes, [keylime_actors::ports::RegistrationOutcome::Written]);
    assert_eq!(store.registration("b").await.unwrap().unwrap().provider_keys, None);
    assert!(store.registration("c").await.is_err());
    assert_eq!(store.registration_ids().await.unwrap(), ["a", "b", "c"]);
}
