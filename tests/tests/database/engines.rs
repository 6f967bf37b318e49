//! One server per engine for the whole test program, one database per test.

use keylime_harness::mariadb::MariaDb;
use keylime_harness::postgres::Postgres;
use keylime_schema::database::{Database, DatabaseError, DatabaseUrl, OpenOptions, PoolSize, SchemaChange, Service};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// An open database of a test's own.
pub struct TestDatabase {
    pub db: Database,
    pub options: OpenOptions,
    directory: Option<TempDir>,
}

impl TestDatabase {
    pub async fn sqlite(service: Service) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("test.sqlite");
        let mut opened = Self::open("sqlite", service, &file).await;
        opened.directory = Some(directory);
        opened
    }

    pub async fn postgres(service: Service) -> Self {
        Self::open(&postgres().create_database(&fresh_name()).unwrap(), service, Path::new("")).await
    }

    pub async fn mariadb(service: Service) -> Self {
        Self::open(&mariadb().create_database(&fresh_name()).unwrap(), service, Path::new("")).await
    }

    /// The same database again, as another process would open it.
    pub async fn opened_again(&self) -> Database {
        Database::open(&self.options).await.unwrap()
    }

    async fn open(url: &str, service: Service, file: &Path) -> Self {
        let options = options(url, service, file);
        Self { db: Database::open(&options).await.unwrap(), options, directory: None }
    }
}

/// Options for a small pool, so that many tests share a server.
pub fn options(url: &str, service: Service, file: &Path) -> OpenOptions {
    OpenOptions {
        url: DatabaseUrl::parse(url, file).unwrap(),
        pool: PoolSize { size: 2, overflow: 1 },
        service,
        schema_change: SchemaChange::Allowed,
    }
}

/// The error of opening, as the operator sees it.
pub async fn open_error(options: &OpenOptions) -> String {
    let error: DatabaseError = Database::open(options).await.unwrap_err();
    error.to_string()
}

pub fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().unwrap_or_else(|error| panic!("{error}")))
}

pub fn mariadb() -> &'static MariaDb {
    static SERVER: OnceLock<MariaDb> = OnceLock::new();
    SERVER.get_or_init(|| MariaDb::start().unwrap_or_else(|error| panic!("{error}")))
}

pub fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A file of the test vectors.
pub fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/databases").join(name)
}
