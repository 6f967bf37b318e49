//! A table as data, written out in each engine's words.

use super::MigrationError;
use crate::database::Engine;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};

/// A table of Keylime's.
#[derive(Debug, Clone, Copy)]
pub struct TableDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in order.
    pub columns: &'static [ColumnDefinition],
    /// Names of the columns of the primary key.
    pub primary_key: &'static [&'static str],
    /// Constraints in standard SQL, with `"` around names.
    pub constraints: &'static [&'static str],
    /// (name, column) of further indexes.
    pub indexes: &'static [(&'static str, &'static str)],
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
    /// What follows the type: `NOT NULL`, `DEFAULT …`; a default that only servers know apart is in [`ColumnKind`].
    pub suffix: &'static str,
}

/// The types that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `VARCHAR(n)`.
    Varchar(u16),
    /// `TEXT`; 64 KiB on MySQL.
    Text,
    /// `TEXT`, on MySQL `LONGTEXT`.
    LongText,
    /// `INTEGER`.
    Integer,
    /// `INTEGER` that the database counts up.
    Serial,
    /// `BOOLEAN`.
    Boolean,
    /// `BOOLEAN NOT NULL`, true unless said otherwise.
    BooleanTrue,
    /// `BLOB` or `BYTEA`.
    Blob,
    /// `BLOB`, on MySQL `TINYBLOB`.
    TinyBlob,
}

/// A nullable column.
pub(super) const fn column(name: &'static str, kind: ColumnKind) -> ColumnDefinition {
    ColumnDefinition { name, kind, suffix: "" }
}

/// A column that must have a value.
pub(super) const fn required(name: &'static str, kind: ColumnKind) -> ColumnDefinition {
    ColumnDefinition { name, kind, suffix: " NOT NULL" }
}

impl TableDefinition {
    /// The statements that create the table and its indexes where they are missing.
    #[must_use]
    pub fn create(&self, engine: Engine) -> Vec<String> {
        let mut lines: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} {}{}", quoted(engine, column.name), column.kind.sql(engine), column.suffix))
            .collect();
        let key: Vec<String> = self.primary_key.iter().map(|column| quoted(engine, column)).collect();
        lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
        lines.extend(self.constraints.iter().map(|constraint| match engine {
            Engine::MySql => constraint.replace('"', "`"),
            Engine::Sqlite | Engine::Postgres => (*constraint).to_owned(),
        }));
        // MySQL alone compares text case-insensitively by default, which would make two agent ids one.
        let mut indexes = Vec::new();
        let tail =
            match engine {
                Engine::MySql => {
                    lines.extend(self.indexes.iter().map(|(name, column)| format!("INDEX {name} ({column})")));
                    " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
                }
                Engine::Sqlite | Engine::Postgres => {
                    indexes.extend(self.indexes.iter().map(|(name, column)| {
                        format!("CREATE INDEX IF NOT EXISTS {name} ON {} ({column})", self.name)
                    }));
                    ""
                }
            };
        let table = format!("CREATE TABLE IF NOT EXISTS {} (\n\t{}\n){tail}", self.name, lines.join(",\n\t"));
        std::iter::once(table).chain(indexes).collect()
    }

    /// Checks that a table with all columns is there.
    pub(super) async fn check(&self, db: &DatabaseTransaction, engine: Engine) -> Result<(), MigrationError> {
        let columns: Vec<String> =
            self.columns.iter().map(|column| qualified(engine, self.name, column.name)).collect();
        let query = format!("SELECT {} FROM {} WHERE 1 = 0", columns.join(", "), self.name);
        match db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await {
            Ok(_) => Ok(()),
            Err(error @ DbErr::Query(_)) => {
                Err(MigrationError::Columns { table: self.name, reason: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl ColumnKind {
    fn sql(self, engine: Engine) -> String {
        let fixed = match (self, engine) {
            (Self::Varchar(length), _) => return format!("VARCHAR({length})"),
            (Self::Text, _) | (Self::LongText, Engine::Sqlite | Engine::Postgres) => "TEXT",
            (Self::LongText, Engine::MySql) => "LONGTEXT",
            (Self::Integer, _) => "INTEGER",
            (Self::Serial, Engine::Sqlite) => "INTEGER NOT NULL",
            (Self::Serial, Engine::Postgres) => "SERIAL NOT NULL",
            (Self::Serial, Engine::MySql) => "INTEGER NOT NULL AUTO_INCREMENT",
            (Self::Boolean, _) => "BOOLEAN",
            (Self::BooleanTrue, Engine::Sqlite | Engine::MySql) => "BOOLEAN NOT NULL DEFAULT 1",
            (Self::BooleanTrue, Engine::Postgres) => "BOOLEAN NOT NULL DEFAULT true",
            (Self::Blob, Engine::Sqlite | Engine::MySql) | (Self::TinyBlob, Engine::Sqlite) => "BLOB",
            (Self::TinyBlob, Engine::MySql) => "TINYBLOB",
            (Self::Blob | Self::TinyBlob, Engine::Postgres) => "BYTEA",
        };
        fixed.to_owned()
    }
}

fn quoted(engine: Engine, name: &str) -> String {
    match engine {
        Engine::MySql => format!("`{name}`"),
        Engine::Sqlite | Engine::Postgres => format!("\"{name}\""),
    }
}

/// With its table's name, because SQLite reads a quoted name that is no column as a text.
fn qualified(engine: Engine, table: &str, name: &str) -> String {
    format!("{table}.{}", quoted(engine, name))
}
