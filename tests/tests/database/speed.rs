//! Floors for the speed of batched writes on SQLite; far below what an optimised build does, so that a busy machine
//! passes and a statement per row does not.

use crate::engines::TestDatabase;
use crate::verifier_suite::{enrol, progress};
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{VerifierStore as _, VerifierWrite};
use keylime_schema::database::Service;
use std::time::{Duration, Instant};

const AGENTS: usize = 4096;
const BATCH: usize = 256;

#[tokio::test]
async fn batches_on_sqlite() {
    let test = TestDatabase::sqlite(Service::Verifier).await;
    report("sqlite", &SqlVerifierStore::new(test.db.clone()), Duration::from_secs(60)).await;
}

#[tokio::test]
async fn batches_on_postgres() {
    let test = TestDatabase::postgres(Service::Verifier).await;
    report("postgresql", &SqlVerifierStore::new(test.db.clone()), Duration::from_secs(120)).await;
}

#[tokio::test]
async fn batches_on_mariadb() {
    let test = TestDatabase::mariadb(Service::Verifier).await;
    report("mariadb", &SqlVerifierStore::new(test.db.clone()), Duration::from_secs(120)).await;
}

/// Prints rows per second of each kind of write.
async fn report(engine: &str, store: &SqlVerifierStore, limit: Duration) {
    let names: Vec<String> = (0..AGENTS).map(|number| format!("agent-{number:06}")).collect();
    let advance = |name: &String| VerifierWrite::Progress { progress: progress(name, 1), outbox: vec![] };
    let delete = |name: &String| VerifierWrite::Delete { agent_id: keylime_engine::ids::AgentId::parse(name).unwrap() };
    let start = Instant::now();
    timed(engine, "enrolments", store, &names, |name| enrol(name)).await;
    timed(engine, "progress updates", store, &names, advance).await;
    timed(engine, "progress updates, again", store, &names, advance).await;
    timed(engine, "deletions", store, &names, delete).await;
    assert!(start.elapsed() < limit, "{engine} took {:?}", start.elapsed());
}

async fn timed(
    engine: &str,
    what: &str,
    store: &SqlVerifierStore,
    names: &[String],
    write: impl Fn(&String) -> VerifierWrite,
) {
    let start = Instant::now();
    for names in names.chunks(BATCH) {
        store.write(names.iter().map(&write).collect()).await.unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a count of some thousands")]
    let rate = names.len() as f64 / seconds;
    println!("{engine}: {rate:.0} {what}/s in batches of {BATCH}");
}
