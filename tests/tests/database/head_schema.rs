//! A fresh database has the very columns that Keylime's migrations make on the same engine.

use crate::engines::TestDatabase;
use crate::engines::vector;
use keylime_schema::database::{Database, Engine, Service};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::Value;
use std::collections::BTreeMap;

type Columns = BTreeMap<String, Vec<Vec<String>>>;

/// Evidence logs are longer than the 64 KiB of Keylime's column on MySQL, so ours is wider.
const WIDER_ON_MYSQL: (&str, &str, &str, &str) = ("evidence_items", "data__entries", "text", "longtext");

#[tokio::test]
async fn sqlite() {
    for service in [Service::Verifier, Service::Registrar] {
        compare(service, "sqlite", &TestDatabase::sqlite(service).await.db).await;
    }
}

#[tokio::test]
async fn postgres() {
    for service in [Service::Verifier, Service::Registrar] {
        compare(service, "postgresql", &TestDatabase::postgres(service).await.db).await;
    }
}

#[tokio::test]
async fn mariadb() {
    for service in [Service::Verifier, Service::Registrar] {
        compare(service, "mariadb", &TestDatabase::mariadb(service).await.db).await;
    }
}

#[tokio::test]
async fn verifier_and_registrar_can_share_a_database() {
    for test in [TestDatabase::postgres(Service::Verifier).await, TestDatabase::mariadb(Service::Verifier).await] {
        let mut options = test.options.clone();
        options.service = Service::Registrar;
        Database::open(&options).await.unwrap();
        test.opened_again().await;
    }
}

#[tokio::test]
async fn processes_that_start_together_make_the_tables_once() {
    for test in [
        TestDatabase::sqlite(Service::Verifier).await,
        TestDatabase::postgres(Service::Verifier).await,
        TestDatabase::mariadb(Service::Verifier).await,
    ] {
        let mut options = test.options.clone();
        options.service = Service::Registrar;
        let opened = tokio::join!(Database::open(&options), Database::open(&options), Database::open(&options));
        assert!(opened.0.is_ok() && opened.1.is_ok() && opened.2.is_ok(), "{opened:?}");
    }
}

async fn compare(service: Service, engine: &str, db: &Database) {
    let golden: Value = serde_json::from_slice(&std::fs::read(vector("keylime_head_columns.json")).unwrap()).unwrap();
    let key = match service {
        Service::Verifier => "verifier",
        Service::Registrar => "registrar",
    };
    let mut expected: Columns = serde_json::from_value(golden[key][engine].clone()).unwrap();
    if let (Engine::MySql, Some(columns)) = (db.engine(), expected.get_mut(WIDER_ON_MYSQL.0)) {
        let column = columns.iter_mut().find(|column| column[0] == WIDER_ON_MYSQL.1).unwrap();
        assert_eq!(column[1], WIDER_ON_MYSQL.2);
        column[1] = WIDER_ON_MYSQL.3.to_owned();
    }
    let mut found = columns(db).await;
    let own =
        ["revocation_outbox", "revocation_outbox_deliveries", "attestation_explanations", "keylime_rs_migrations"];
    found.retain(|table, _| !own.contains(&table.as_str()));
    found.retain(|table, _| table != "sqlite_sequence");
    for (table, columns) in &expected {
        assert_eq!(found.get(table), Some(columns), "{table} on {engine}");
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let revision = rows(db, &format!("SELECT version_num AS a FROM {}", service.version_table()), &["a"]).await;
    assert_eq!(revision, [["a59cc9366774"]]);
}

async fn columns(db: &Database) -> Columns {
    let query = match db.engine() {
        Engine::Sqlite => {
            "SELECT m.name AS t, p.name AS c, p.type AS k, CASE p.\"notnull\" WHEN 0 THEN 'YES' ELSE 'NO' END AS n \
             FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY m.name, p.cid"
        }
        Engine::Postgres => {
            "SELECT table_name::text AS t, column_name::text AS c, CASE WHEN character_maximum_length IS NULL \
             THEN data_type ELSE data_type || '(' || character_maximum_length || ')' END::text AS k, is_nullable::text AS n \
             FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        }
        Engine::MySql => {
            "SELECT CONVERT(table_name USING utf8mb4) AS t, CONVERT(column_name USING utf8mb4) AS c, \
             CONVERT(column_type USING utf8mb4) AS k, CONVERT(is_nullable USING utf8mb4) AS n \
             FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
        }
    };
    let mut found = Columns::new();
    for row in rows(db, query, &["t", "c", "k", "n"]).await {
        found.entry(row[0].clone()).or_default().push(row[1..].to_vec());
    }
    found
}

async fn rows(db: &Database, query: &str, names: &[&str]) -> Vec<Vec<String>> {
    let statement = Statement::from_string(db.reader().get_database_backend(), query.to_owned());
    let rows = db.reader().query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| names.iter().map(|name| row.try_get::<String>("", name).unwrap()).collect()).collect()
}
