//! Databases that Keylime 7.14.3 made open unchanged, with their agents, policies and registrations; others are refused.

use crate::engines::{open_error, options, vector};
use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{RegistrarStore as _, VerifierStore as _, VerifierWrite, WriteOutcome};
use keylime_engine::ids::AgentId;
use keylime_schema::database::{Database, OpenOptions, SchemaChange, Service};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

struct PeerFile {
    options: OpenOptions,
    _directory: TempDir,
}

/// A copy of a database that Keylime made.
fn peer_file(service: Service) -> PeerFile {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(service.default_file_name());
    std::fs::copy(vector(&format!("keylime_7_14_3_{}", service.default_file_name())), &file).unwrap();
    PeerFile { options: options("sqlite", service, &file), _directory: directory }
}

/// Every statement that made a table of Keylime's, and every row in it, as text.
async fn contents(db: &Database, service: Service) -> Vec<String> {
    let mut found = Vec::new();
    let all = |query: String| async move {
        let statement = Statement::from_string(db.reader().get_database_backend(), query);
        let rows = db.reader().query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get::<String>("", "line").unwrap()).collect::<Vec<_>>()
    };
    let tables = service.tables().iter().map(|table| table.name).chain([service.version_table()]);
    for table in tables {
        found.extend(all(format!("SELECT sql AS line FROM sqlite_master WHERE name = '{table}'")).await);
        let columns =
            all(format!("SELECT 'quote(\"' || name || '\")' AS line FROM pragma_table_info('{table}')")).await;
        found.extend(all(format!("SELECT {} AS line FROM {table} ORDER BY 1", columns.join(" || ','  || "))).await);
    }
    found
}

async fn execute(options: &OpenOptions, statement: &str) {
    let db = Database::open(options).await.unwrap();
    db.reader().execute_unprepared(statement).await.unwrap();
    db.close().await;
}

#[tokio::test]
async fn a_verifier_database_of_keylime_keeps_its_agents_and_policies() {
    let file = peer_file(Service::Verifier);
    let db = Database::open(&file.options).await.unwrap();
    let before = contents(&db, Service::Verifier).await;
    assert!(before.iter().any(|line| line.contains("a59cc9366774")));
    let store = SqlVerifierStore::new(db.clone());

    assert_eq!(store.agent_ids(None).await.unwrap(), ["attested", "failed", "fresh", "push", "stopped"]);
    assert_eq!(store.agent_ids(Some("other")).await.unwrap(), ["stopped"]);
    let page = store.agents_page(None, None, 100).await.unwrap();
    assert_eq!((page.agents.len(), page.bad, page.next), (5, vec![], None));

    let attested = store.agent("attested").await.unwrap().unwrap();
    assert_eq!((attested.operational_state, attested.attestation_count), (Some(3), 77));
    assert_eq!(attested.tpm_policy, r#"{"mask": "0x400"}"#);
    assert_eq!(attested.accept_tpm_hash_algs, ["sha512", "sha384", "sha256"]);
    assert_eq!(attested.learned_ima_keyrings, json!({".ima": ["a".repeat(64)]}));
    assert_eq!(attested.tpm_clockinfo, Some(json!({"clock": 4711, "resetcount": 3, "restartcount": 0, "safe": 1})));
    assert_eq!((attested.ima_pcrs, attested.next_ima_ml_entry), (vec![10], 1234));
    assert_eq!(attested.pcr10, Some((0..32).collect()));
    assert_eq!((attested.verifier_ip.as_str(), attested.verifier_port), ("127.0.0.1", 8881));

    let failed = store.agent("failed").await.unwrap().unwrap();
    assert_eq!((failed.operational_state, failed.severity_level), (Some(9), Some(6)));
    assert!(failed.tpm_policy.contains("größer"));
    let push = store.agent("push").await.unwrap().unwrap();
    assert_eq!((push.ip, push.port, push.operational_state, push.v), (None, None, None, None));
    assert_eq!(push.supported_version, "");

    let shared = store.runtime_policy("shared").await.unwrap().unwrap();
    assert_eq!((Some(shared.id), shared.generator), (attested.runtime_policy_id, 3));
    assert!(shared.text.unwrap().contains("/usr/bin/ls"));
    let fresh = store.agent("fresh").await.unwrap().unwrap();
    let own = store.runtime_policy_by_id(fresh.runtime_policy_id.unwrap()).await.unwrap().unwrap();
    assert_eq!((own.name.as_str(), own.generator), ("fresh", 1));
    let own = store.boot_policy_by_id(fresh.boot_policy_id.unwrap()).await.unwrap().unwrap();
    assert_eq!((own.name.as_str(), own.text), ("fresh", None));
    assert_eq!(store.boot_policy("failed").await.unwrap().unwrap().text.as_deref(), Some(""));

    assert_eq!(contents(&db, Service::Verifier).await, before);
    let delete = |name| VerifierWrite::Delete { agent_id: AgentId::parse(name).unwrap() };
    let outcomes = store.write(vec![delete("push"), delete("fresh")]).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written, WriteOutcome::Written]);
    assert_eq!(store.runtime_policy_names().await.unwrap(), ["shared"]);
}

#[tokio::test]
async fn a_registrar_database_of_keylime_keeps_its_registrations() {
    let file = peer_file(Service::Registrar);
    let db = Database::open(&file.options).await.unwrap();
    let before = contents(&db, Service::Registrar).await;
    let store = SqlRegistrarStore::new(db.clone());
    assert_eq!(store.registration_ids().await.unwrap(), ["newer", "older"]);
    let older = store.registration("older").await.unwrap().unwrap();
    assert!(older.active);
    assert_eq!((older.regcount, older.port, older.provider_keys), (3, Some(9002), Some(json!({}))));
    assert_eq!((older.ekcert.as_deref(), older.mtls_cert.as_deref()), (Some("MIIB"), Some("disabled")));
    let newer = store.registration("newer").await.unwrap().unwrap();
    assert!(!newer.active);
    assert_eq!((newer.ek_tpm.as_deref(), newer.is_virtual, newer.provider_keys), (Some("AARFS0VL"), None, None));
    assert_eq!(contents(&db, Service::Registrar).await, before);
}

#[tokio::test]
async fn a_database_of_keylime_opens_without_any_change_where_none_is_allowed() {
    let mut file = peer_file(Service::Registrar);
    file.options.schema_change = SchemaChange::Forbidden;
    Database::open(&file.options).await.unwrap();

    let mut file = peer_file(Service::Verifier);
    file.options.schema_change = SchemaChange::Forbidden;
    let error = open_error(&file.options).await;
    assert!(
        error.contains("missing tables: revocation_outbox, revocation_outbox_deliveries, attestation_explanations"),
        "{error}"
    );
    assert!(error.contains("auto_migrate_db is off"), "{error}");
}

#[tokio::test]
async fn another_revision_is_refused_with_the_way_out() {
    let file = peer_file(Service::Verifier);
    for revision in ["5a8b2c3d4e6f", "ffffffffffff"] {
        let mut free = file.options.clone();
        free.schema_change = SchemaChange::Allowed;
        execute_raw(&file.options, &format!("UPDATE alembic_version_cloud_verifier SET version_num = '{revision}'"))
            .await;
        for change in [SchemaChange::Allowed, SchemaChange::Forbidden] {
            let error = open_error(&OpenOptions { schema_change: change, ..file.options.clone() }).await;
            assert!(
                error.contains(revision) && error.contains("a59cc9366774") && error.contains("migrations"),
                "{error}"
            );
        }
    }
    execute_raw(&file.options, "DROP TABLE alembic_version_cloud_verifier").await;
    let error = open_error(&file.options).await;
    assert!(error.contains("alembic_version_cloud_verifier"), "{error}");
}

#[tokio::test]
async fn tables_without_keylimes_columns_are_refused() {
    let file = peer_file(Service::Registrar);
    execute(&file.options, "ALTER TABLE registrarmain DROP COLUMN regcount").await;
    let error = open_error(&file.options).await;
    assert!(error.contains("registrarmain") && error.contains("regcount"), "{error}");
}

#[tokio::test]
async fn nothing_is_created_where_no_change_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sub/none.sqlite");
    let mut options = options("sqlite", Service::Verifier, &file);
    options.schema_change = SchemaChange::Forbidden;
    let error = open_error(&options).await;
    assert!(error.contains("does not exist") && error.contains("auto_migrate_db"), "{error}");
    assert!(!file.parent().unwrap().exists());
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, b"").unwrap();
    let error = open_error(&options).await;
    assert!(error.contains("missing tables: alembic_version_cloud_verifier, allowlists"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("text.sqlite");
    std::fs::write(&file, "not a database, but longer than the header of one ".repeat(40)).unwrap();
    let error = open_error(&options("sqlite", Service::Registrar, &file)).await;
    assert!(error.contains("text.sqlite"), "{error}");
    let error = open_error(&options("sqlite", Service::Registrar, Path::new("/proc/none/x.sqlite"))).await;
    assert!(error.contains("/proc/none"), "{error}");
}

#[tokio::test]
async fn a_new_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keylime/cv_data.sqlite");
    let _db = Database::open(&options("sqlite", Service::Verifier, &file)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
}

/// Changes a file that our own opening would refuse.
async fn execute_raw(options: &OpenOptions, statement: &str) {
    let keylime_schema::database::DatabaseUrl::Sqlite(keylime_schema::database::SqliteLocation::File(file)) =
        &options.url
    else {
        panic!("{:?}", options.url)
    };
    let db = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    db.execute_unprepared(statement).await.unwrap();
    db.close().await.unwrap();
}
