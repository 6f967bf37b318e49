//! What is in a database: its tables and Keylime's revision.

use crate::database::Engine;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};
use std::collections::HashSet;

/// More tables than this are not looked at.
const MAX_TABLES: usize = 10_000;

/// Names of the tables in the current schema.
pub(super) async fn tables(db: &DatabaseTransaction, engine: Engine) -> Result<HashSet<String>, DbErr> {
    let query = match engine {
        Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Engine::Postgres => {
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema()"
        }
        Engine::MySql => {
            "SELECT CONVERT(table_name USING utf8mb4) AS name FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
    };
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await?;
    rows.iter().take(MAX_TABLES).map(|row| row.try_get("", "name")).collect()
}

/// The revisions in a version table of Keylime's; one, unless somebody interfered.
pub(super) async fn revisions(db: &DatabaseTransaction, version_table: &str) -> Result<Vec<String>, DbErr> {
    let query = format!("SELECT version_num FROM {version_table} ORDER BY version_num LIMIT 5");
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await?;
    rows.iter().map(|row| row.try_get("", "version_num")).collect()
}
