//! A database that goes away is an error that says so, after a bounded time, and never a crash.

use crate::engines::{fresh_name, open_error, options};
use crate::verifier_suite::enrol;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{StoreError, VerifierStore as _};
use keylime_harness::postgres::Postgres;
use keylime_schema::database::{Database, Service};
use std::path::Path;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_server_that_stops_is_unavailable() {
    let server = Postgres::start().unwrap();
    let url = server.create_database(&fresh_name()).unwrap();
    let options = options(&url, Service::Verifier, Path::new(""));
    let store = SqlVerifierStore::new(Database::open(&options).await.unwrap());
    store.write(vec![enrol("a")]).await.unwrap();
    drop(server);
    let start = Instant::now();
    let outcome = store.write(vec![enrol("b")]).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    let read = store.agent("a").await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    let error = open_error(&options).await;
    assert!(error.contains("127.0.0.1") && error.contains("refused") && !error.contains("ss/w:rd"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_named_at_once() {
    let url = crate::engines::postgres().create_database(&fresh_name()).unwrap();
    let url = url.replace("p%40ss%2Fw%3Ard%25", "wrong");
    let start = Instant::now();
    let error = open_error(&options(&url, Service::Registrar, Path::new(""))).await;
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}
