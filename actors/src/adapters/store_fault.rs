//! Database faults in the words of the ports.

use crate::ports::StoreError;
use keylime_schema::database::Fault;
use sea_orm::DbErr;

/// How often a transaction that lost against another one is run again.
pub(super) const ATTEMPTS: usize = 4;

/// What the caller of a store is told.
pub(super) fn store_error(error: &DbErr) -> StoreError {
    match Fault::of(error) {
        Fault::Unavailable | Fault::Contended => StoreError::Unavailable(error.to_string()),
        Fault::Constraint | Fault::Data => StoreError::Internal(error.to_string()),
    }
}

/// Why a row is refused that MySQL would drop the connection for.
pub(super) fn beyond_packet(bytes: usize) -> String {
    format!("{bytes} bytes are more than max_allowed_packet of the database has room for; raise it there")
}
