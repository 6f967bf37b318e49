//! Opens a database: connections with the settings each engine needs, then the tables (`migration`).

use super::migration::{self, MigrationError};
use super::{DatabaseUrl, InvalidDatabaseUrl, PoolSize, ServerEngine, ServerUrl, Service, SqliteLocation};
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, Executor as _};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, SqlxMySqlConnector, SqlxPostgresConnector,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait as _,
};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process that writes to the same SQLite file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read an SQLite file beside the one that writes.
const SQLITE_READERS: u32 = 4;
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements that each connection keeps prepared; the multi-row ones come in few sizes.
const STATEMENT_CACHE: usize = 128;

/// The engine behind a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// Whether opening may change the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaChange {
    /// `auto_migrate_db = True`: create what is missing.
    Allowed,
    /// `auto_migrate_db = False`: create nothing; what is missing is an error.
    Forbidden,
}

/// What [`Database::open`] needs to know.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where the database is.
    pub url: DatabaseUrl,
    /// Connections to a server; without meaning for SQLite.
    pub pool: PoolSize,
    /// Whose tables it holds.
    pub service: Service,
    /// Whether tables may be created.
    pub schema_change: SchemaChange,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DatabaseError {
    #[error(transparent)]
    Url(#[from] InvalidDatabaseUrl),
    #[error("{place}: {source}")]
    File { place: String, source: std::io::Error },
    #[error("{place} does not exist, and auto_migrate_db is off")]
    Missing { place: String },
    #[error("cannot connect to the {place}: {source}")]
    Connect { place: String, source: sqlx::Error },
    #[error("{place}: {source}")]
    Migration { place: String, source: MigrationError },
}

/// An open database. Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Database {
    engine: Engine,
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    largest_row: usize,
}

impl Database {
    /// Connects and brings the tables up to date, or checks them when they must not be changed.
    ///
    /// # Errors
    /// See [`DatabaseError`]; the message is meant for the operator.
    pub async fn open(options: &OpenOptions) -> Result<Self, DatabaseError> {
        let place = options.url.to_string();
        let connected = match &options.url {
            DatabaseUrl::Sqlite(location) => Self::open_sqlite(location, options.schema_change).await?,
            DatabaseUrl::Server(server) => Self::open_server(server, options.pool).await?,
        };
        migration::prepare(&connected, options.service, options.schema_change)
            .await
            .map_err(|source| DatabaseError::Migration { place, source })?;
        Ok(connected)
    }

    /// A fresh database in memory, for tests and tools.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn in_memory(service: Service) -> Result<Self, DatabaseError> {
        Self::open(&OpenOptions {
            url: DatabaseUrl::Sqlite(SqliteLocation::Memory),
            pool: PoolSize::DEFAULT,
            service,
            schema_change: SchemaChange::Allowed,
        })
        .await
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// Most bytes of text in one row. MySQL answers a longer statement by closing the connection, which looks like an
    /// outage; the other engines take what memory holds.
    #[must_use]
    pub const fn largest_row(&self) -> usize {
        self.largest_row
    }

    /// Connection for statements that only read.
    #[must_use]
    pub const fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Starts a transaction that may write. On SQLite it holds the write lock from the start, so that what it reads
    /// stays true until it commits; on servers rows that matter are read with `FOR UPDATE`.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
            .await
    }

    /// Closes the connections after the statements under way.
    pub async fn close(self) {
        // Closing twice is how SQLite's checkpoint at the last connection is reached; an error has nobody to act on it.
        let _ = self.reader.close().await;
        let _ = self.writer.close().await;
    }

    async fn open_sqlite(location: &SqliteLocation, change: SchemaChange) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENT_CACHE)
            .disable_statement_logging();
        let place = || DatabaseUrl::Sqlite(location.clone()).to_string();
        let fail = |source| DatabaseError::Connect { place: place(), source };
        // Connections of a database in memory must not be closed: each is the database.
        let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(None).max_lifetime(None);
        match location {
            SqliteLocation::Memory => {
                let options = options.in_memory(true);
                let only = pool().max_connections(1).connect_with(options).await.map_err(fail)?;
                let only = SqlxSqliteConnector::from_sqlx_sqlite_pool(only);
                Ok(Self { engine: Engine::Sqlite, reader: only.clone(), writer: only, largest_row: usize::MAX })
            }
            SqliteLocation::File(path) => {
                prepare_file(path, change).map_err(|source| match source.kind() {
                    std::io::ErrorKind::NotFound if change == SchemaChange::Forbidden => {
                        DatabaseError::Missing { place: place() }
                    }
                    _ => DatabaseError::File { place: place(), source },
                })?;
                // A verdict that was reported must survive a power cut, hence FULL.
                let options = options
                    .filename(path)
                    .create_if_missing(false)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full);
                let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(fail)?;
                let reader = pool().max_connections(SQLITE_READERS).connect_with(options).await.map_err(fail)?;
                Ok(Self {
                    engine: Engine::Sqlite,
                    reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(reader),
                    writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
                    largest_row: usize::MAX,
                })
            }
        }
    }

    async fn open_server(url: &ServerUrl, pool: PoolSize) -> Result<Self, DatabaseError> {
        let fail = |source| DatabaseError::Connect { place: DatabaseUrl::Server(url.clone()).to_string(), source };
        let (engine, connection, largest_row) = match url.engine {
            ServerEngine::Postgres => {
                let options = postgres_options(url)?;
                // A pool tries again until its time is over, and then does not say what was wrong.
                options.connect().await.map_err(fail)?.close().await.map_err(fail)?;
                let pool = PgPoolOptions::new()
                    .max_connections(pool.limit())
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(true)
                    .connect_with(options)
                    .await
                    .map_err(fail)?;
                (Engine::Postgres, SqlxPostgresConnector::from_sqlx_postgres_pool(pool), usize::MAX)
            }
            ServerEngine::MySql => {
                let options = mysql_options(url)?;
                let mut first = options.connect().await.map_err(fail)?;
                let packet: u64 = sqlx::query_scalar(MYSQL_PACKET).fetch_one(&mut first).await.map_err(fail)?;
                first.close().await.map_err(fail)?;
                let largest_row = usize::try_from(packet).unwrap_or(usize::MAX).saturating_sub(MYSQL_ROW_RESERVE);
                let pool = MySqlPoolOptions::new()
                    .max_connections(pool.limit())
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(true)
                    .after_connect(|connection, _| {
                        Box::pin(async move {
                            connection.execute(MYSQL_STRICT).await?;
                            connection.execute(MYSQL_ISOLATION).await?;
                            Ok(())
                        })
                    })
                    .connect_with(options)
                    .await
                    .map_err(fail)?;
                (Engine::MySql, SqlxMySqlConnector::from_sqlx_mysql_pool(pool), largest_row)
            }
        };
        Ok(Self { engine, reader: connection.clone(), writer: connection, largest_row })
    }
}

/// The longest statement that the server takes, as an unsigned number.
const MYSQL_PACKET: &str = "SELECT CAST(@@max_allowed_packet AS UNSIGNED)";
/// What of it is left for the statement itself and the short columns.
const MYSQL_ROW_RESERVE: usize = 256 * 1024;
/// So that a value too long for its column is an error and not a shorter value.
const MYSQL_STRICT: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')";
/// Without locks on gaps between rows, over which batches of different processes would deadlock.
const MYSQL_ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Creates a missing file (mode 0600: it holds key shares) and its directory (mode 0700).
fn prepare_file(path: &Path, change: SchemaChange) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if change == SchemaChange::Forbidden {
        return std::fs::metadata(path).map(|_| ());
    }
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(|_| ())
}

fn postgres_options(url: &ServerUrl) -> Result<PgConnectOptions, InvalidDatabaseUrl> {
    let mut options = PgConnectOptions::new().statement_cache_capacity(STATEMENT_CACHE).application_name("keylime");
    if let Some(host) = &url.host {
        options = options.host(host);
    }
    if let Some(port) = url.port {
        options = options.port(port);
    }
    if let Some(username) = &url.username {
        options = options.username(username);
    }
    if let Some(password) = &url.password {
        options = options.password(password);
    }
    if let Some(database) = &url.database {
        options = options.database(database);
    }
    for (name, value) in &url.options {
        let unusable = || InvalidDatabaseUrl::OptionValue(name.clone());
        options = match name.as_str() {
            "host" if value.starts_with('/') => options.socket(value),
            "host" => options.host(value),
            "port" => options.port(value.parse().map_err(|_| unusable())?),
            "sslmode" => options.ssl_mode(value.parse::<PgSslMode>().map_err(|_| unusable())?),
            "sslrootcert" => options.ssl_root_cert(value),
            "sslcert" => options.ssl_client_cert(value),
            "sslkey" => options.ssl_client_key(value),
            "application_name" => options.application_name(value),
            // Settings of Python's driver about text and time that are fixed here.
            "client_encoding" | "connect_timeout" => options,
            _ => return Err(InvalidDatabaseUrl::Option(name.clone())),
        };
    }
    Ok(options.disable_statement_logging())
}

fn mysql_options(url: &ServerUrl) -> Result<MySqlConnectOptions, InvalidDatabaseUrl> {
    let mut options = MySqlConnectOptions::new().statement_cache_capacity(STATEMENT_CACHE);
    if let Some(host) = &url.host {
        options = options.host(host);
    }
    if let Some(port) = url.port {
        options = options.port(port);
    }
    if let Some(username) = &url.username {
        options = options.username(username);
    }
    if let Some(password) = &url.password {
        options = options.password(password);
    }
    if let Some(database) = &url.database {
        options = options.database(database);
    }
    for (name, value) in &url.options {
        options = match name.as_str() {
            "unix_socket" => options.socket(value),
            "ssl_ca" => options.ssl_ca(value).ssl_mode(sqlx::mysql::MySqlSslMode::VerifyCa),
            "ssl_cert" => options.ssl_client_cert(value),
            "ssl_key" => options.ssl_client_key(value),
            // The connection always speaks utf8mb4; the server converts.
            "charset" | "use_unicode" | "connect_timeout" => options,
            _ => return Err(InvalidDatabaseUrl::Option(name.clone())),
        };
    }
    Ok(options.disable_statement_logging())
}
