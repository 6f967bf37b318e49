//! Tables: Keylime's, as its migration head leaves them, and our own.
//!
//! Keylime's revision is kept in its own version table, with its own value, so that the Python services can open the
//! database too (`verifier-db.md` §2). A database at another revision is refused, because moving its data is the job of
//! Keylime's own migrations. Our tables and indexes are additive and have their own migration table.

mod catalogue;
mod keylime_head;
mod m0001_revocation_outbox;
mod m0002_foreign_key_indexes;
mod m0003_explanations;
mod table_definition;

pub use table_definition::{ColumnDefinition, ColumnKind, TableDefinition};

use super::{Database, Engine, SchemaChange, Service};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, DynIden, Statement, sea_query::IntoIden as _};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// Revision of Keylime 7.14's tables, shared by verifier and registrar.
pub const KEYLIME_HEAD: &str = "a59cc9366774";

/// Key of the lock under which servers run one migration at a time.
const LOCK_KEY: &str = "6b65796c696d65";
/// The same for PostgreSQL, whose advisory locks are numbers.
const LOCK_NUMBER: i64 = 0x006b_6579_6c69_6d65;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MigrationError {
    #[error(
        "the tables are at Keylime's revision {found}, and this program needs {KEYLIME_HEAD} (Keylime 7.14); start \
         that version of Keylime's service once with auto_migrate_db = True, or run its migrations, then try again"
    )]
    Revision { found: String },
    #[error("the table {table} exists, but no {version_table} says at which of Keylime's revisions the database is")]
    NoRevision { table: String, version_table: &'static str },
    #[error("missing tables: {}; auto_migrate_db is off, so nothing was created", .0.join(", "))]
    Missing(Vec<String>),
    #[error("the table {table} does not have the columns of Keylime's revision {KEYLIME_HEAD}: {reason}")]
    Columns { table: &'static str, reason: String },
    #[error("cannot migrate: {0}")]
    Database(#[from] DbErr),
}

impl Service {
    /// The table that holds Keylime's revision of this service's tables.
    #[must_use]
    pub const fn version_table(self) -> &'static str {
        match self {
            Self::Verifier => "alembic_version_cloud_verifier",
            Self::Registrar => "alembic_version_registrar",
        }
    }

    /// Keylime's tables of this service, referenced ones first.
    #[must_use]
    pub const fn tables(self) -> &'static [TableDefinition] {
        match self {
            Self::Verifier => keylime_head::VERIFIER,
            Self::Registrar => keylime_head::REGISTRAR,
        }
    }
}

/// The verifier's own tables and indexes, beside Keylime's. The registrar needs none.
struct VerifierMigrator;

#[sea_orm_migration::async_trait::async_trait]
impl MigratorTrait for VerifierMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_revocation_outbox::Migration),
            Box::new(m0002_foreign_key_indexes::Migration),
            Box::new(m0003_explanations::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "keylime_rs_migrations".into_iden()
    }
}

/// Creates what is missing, or checks that nothing is. One process at a time does this on one database.
pub(super) async fn prepare(db: &Database, service: Service, change: SchemaChange) -> Result<(), MigrationError> {
    let transaction = db.begin().await?;
    lock(&transaction, db.engine()).await?;
    let outcome = prepare_locked(&transaction, db.engine(), service, change).await;
    unlock(&transaction, db.engine()).await?;
    outcome?;
    transaction.commit().await?;
    Ok(())
}

async fn prepare_locked(
    db: &DatabaseTransaction,
    engine: Engine,
    service: Service,
    change: SchemaChange,
) -> Result<(), MigrationError> {
    let present = catalogue::tables(db, engine).await?;
    let stored = match present.contains(service.version_table()) {
        true => catalogue::revisions(db, service.version_table()).await?,
        false => Vec::new(),
    };
    match stored.as_slice() {
        [revision] if revision == KEYLIME_HEAD => {}
        [] => {
            let existing = service.tables().iter().find(|table| present.contains(table.name));
            let begun = present.contains(service.version_table());
            match (existing, change) {
                // A version table without a revision is what an interrupted creation leaves on MySQL, where tables are
                // created outside transactions; the check of the columns below tells it from anything else.
                (Some(table), _) if !begun => {
                    return Err(MigrationError::NoRevision {
                        table: table.name.to_owned(),
                        version_table: service.version_table(),
                    });
                }
                (_, SchemaChange::Forbidden) => {
                    return Err(MigrationError::Missing(missing(service, &present)));
                }
                (_, SchemaChange::Allowed) => create_keylime_tables(db, engine, service).await?,
            }
        }
        others => return Err(MigrationError::Revision { found: others.join(", ") }),
    }
    for table in service.tables() {
        table.check(db, engine).await?;
    }
    match (service, change) {
        (Service::Registrar, _) => Ok(()),
        (Service::Verifier, SchemaChange::Allowed) => Ok(VerifierMigrator::up(db, None).await?),
        (Service::Verifier, SchemaChange::Forbidden) => {
            let own = m0001_revocation_outbox::TABLES.iter().chain(m0003_explanations::TABLES);
            let absent: Vec<String> =
                own.filter(|table| !present.contains(**table)).map(|table| (*table).to_owned()).collect();
            if absent.is_empty() { Ok(()) } else { Err(MigrationError::Missing(absent)) }
        }
    }
}

fn missing(service: Service, present: &std::collections::HashSet<String>) -> Vec<String> {
    std::iter::once(service.version_table())
        .chain(service.tables().iter().map(|table| table.name))
        .filter(|table| !present.contains(*table))
        .map(str::to_owned)
        .collect()
}

/// The version table comes first and its row last, so that an interruption can be recognised.
async fn create_keylime_tables(db: &DatabaseTransaction, engine: Engine, service: Service) -> Result<(), DbErr> {
    let version_table = service.version_table();
    db.execute_unprepared(&format!(
        "CREATE TABLE IF NOT EXISTS {version_table} (version_num VARCHAR(32) NOT NULL, \
         CONSTRAINT {version_table}_pkc PRIMARY KEY (version_num))"
    ))
    .await?;
    for table in service.tables() {
        for statement in table.create(engine) {
            db.execute_unprepared(&statement).await?;
        }
    }
    db.execute_unprepared(&format!("INSERT INTO {version_table} (version_num) VALUES ('{KEYLIME_HEAD}')")).await?;
    Ok(())
}

/// SQLite needs no lock: the transaction holds its write lock already.
async fn lock(db: &DatabaseTransaction, engine: Engine) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    match engine {
        Engine::Sqlite => Ok(()),
        Engine::Postgres => db
            .query_one_raw(Statement::from_string(backend, format!("SELECT pg_advisory_xact_lock({LOCK_NUMBER})")))
            .await
            .map(|_| ()),
        Engine::MySql => db
            .query_one_raw(Statement::from_string(backend, format!("SELECT GET_LOCK('{LOCK_KEY}', 60)")))
            .await
            .map(|_| ()),
    }
}

async fn unlock(db: &DatabaseTransaction, engine: Engine) -> Result<(), DbErr> {
    match engine {
        // The end of the transaction releases it.
        Engine::Sqlite | Engine::Postgres => Ok(()),
        Engine::MySql => db
            .query_one_raw(Statement::from_string(
                db.get_database_backend(),
                format!("SELECT RELEASE_LOCK('{LOCK_KEY}')"),
            ))
            .await
            .map(|_| ()),
    }
}
