//! What a failed statement means for the caller: try later, run the transaction again, or give the row up.

use sea_orm::sqlx;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// The kinds of database faults that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database is away, full, overloaded or read-only.
    Unavailable,
    /// The transaction lost against another one (deadlock, serialisation, lock timeout); run it again.
    Contended,
    /// A unique or foreign key refused the row, which another transaction may have caused since the row was checked.
    Constraint,
    /// The row or the statement cannot be stored.
    Data,
}

impl Fault {
    /// Sorts an error.
    #[must_use]
    pub fn of(error: &DbErr) -> Self {
        if let Some(SqlErr::UniqueConstraintViolation(_) | SqlErr::ForeignKeyConstraintViolation(_)) = error.sql_err() {
            return Self::Constraint;
        }
        match error {
            DbErr::ConnectionAcquire(_) => Self::Unavailable,
            DbErr::Conn(RuntimeErr::SqlxError(source))
            | DbErr::Exec(RuntimeErr::SqlxError(source))
            | DbErr::Query(RuntimeErr::SqlxError(source)) => Self::of_driver(source),
            _ => Self::Data,
        }
    }

    fn of_driver(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable,
            sqlx::Error::Database(refusal) => Self::of_refusal(refusal.as_ref()),
            _ => Self::Data,
        }
    }

    fn of_refusal(refusal: &dyn sqlx::error::DatabaseError) -> Self {
        if let Some(mysql) = refusal.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return Self::of_mysql(mysql.number());
        }
        let code = refusal.code().unwrap_or_default();
        if refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            return Self::of_postgres(&code);
        }
        Self::of_sqlite(&code)
    }

    /// Numbers of the MySQL and MariaDB error reference.
    fn of_mysql(number: u16) -> Self {
        match number {
            // Lock wait timeout, deadlock, record changed since last read.
            1205 | 1213 | 1020 => Self::Contended,
            // Disk full, too many connections, out of memory, shutting down, access denied, table full, read-only,
            // interrupted, gone away.
            1021
            | 1037
            | 1040
            | 1041
            | 1044
            | 1045
            | 1053
            | 1077
            | 1079
            | 1114
            | 1152
            | 1158..=1161
            | 1203
            | 1226
            | 1290
            | 1317
            | 1836
            | 1927
            | 2006
            | 2013 => Self::Unavailable,
            _ => Self::Data,
        }
    }

    /// SQLSTATE classes of PostgreSQL's documentation, appendix A.
    fn of_postgres(code: &str) -> Self {
        match code {
            "40001" | "40P01" | "55P03" => Self::Contended,
            "25006" => Self::Unavailable,
            // Connection, authorisation, resources, operator intervention, system error.
            _ if ["08", "28", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Self::Unavailable,
            _ => Self::Data,
        }
    }

    /// SQLite's result codes; the low byte is the primary one.
    fn of_sqlite(code: &str) -> Self {
        match code.parse::<i32>().unwrap_or_default() & 0xff {
            // Busy, locked.
            5 | 6 => Self::Contended,
            // Permission, out of memory, read-only, input/output, full, cannot open.
            3 | 7 | 8 | 10 | 13 | 14 => Self::Unavailable,
            _ => Self::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_the_codes_of_each_engine() {
        assert_eq!(Fault::of_sqlite("517"), Fault::Contended);
        assert_eq!(Fault::of_sqlite("13"), Fault::Unavailable);
        assert_eq!(Fault::of_sqlite("1"), Fault::Data);
        assert_eq!(Fault::of_postgres("40P01"), Fault::Contended);
        assert_eq!(Fault::of_postgres("57P01"), Fault::Unavailable);
        assert_eq!(Fault::of_postgres("22001"), Fault::Data);
        assert_eq!(Fault::of_mysql(1213), Fault::Contended);
        assert_eq!(Fault::of_mysql(1040), Fault::Unavailable);
        assert_eq!(Fault::of_mysql(1406), Fault::Data);
    }
}
