//! Opens a server's database.

use crate::configuration::DatabaseConfiguration;
use keylime_schema::database::{Database, DatabaseError, DatabaseUrl, OpenOptions, SchemaChange, Service};
use std::path::Path;

/// Opens the database of a service and brings its tables up to date, if that is allowed.
///
/// # Errors
/// When it cannot be used; the text is for the operator.
pub async fn open_database(
    configuration: &DatabaseConfiguration,
    service: Service,
    work_dir: &Path,
) -> Result<Database, DatabaseError> {
    let url = DatabaseUrl::parse(&configuration.url, &work_dir.join(service.default_file_name()))?;
    let schema_change = match configuration.auto_migrate {
        true => SchemaChange::Allowed,
        false => SchemaChange::Forbidden,
    };
    tracing::info!(target: "keylime.db", "opening {url}");
    Database::open(&OpenOptions { url, pool: configuration.pool, service, schema_change }).await
}
