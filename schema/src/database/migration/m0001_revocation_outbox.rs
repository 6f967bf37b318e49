//! Revocations that were decided and wait for their notifiers.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// The tables this migration creates.
pub(super) const TABLES: &[&str] = &["revocation_outbox", "revocation_outbox_deliveries"];

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut sequence = ColumnDef::new("seq");
        match manager.get_database_backend() {
            // Only a column of exactly this type counts up in SQLite.
            DbBackend::Sqlite => sequence.integer(),
            _ => sequence.big_integer(),
        };
        sequence.not_null().auto_increment().primary_key();
        let mut outbox = Table::create();
        outbox
            .table("revocation_outbox")
            .if_not_exists()
            .col(sequence)
            .col(ColumnDef::new("id").string_len(36).not_null().unique_key())
            .col(ColumnDef::new("agent_id").string_len(80).not_null())
            .col(ColumnDef::new("kind").string_len(32).not_null())
            .col(ColumnDef::new("severity_label").string_len(255).not_null())
            .col(body_column(manager.get_database_backend()))
            .col(ColumnDef::new("created_us").big_integer().not_null());
        let mut deliveries = Table::create();
        deliveries
            .table("revocation_outbox_deliveries")
            .if_not_exists()
            .col(ColumnDef::new("outbox_id").string_len(36).not_null())
            .col(ColumnDef::new("notifier").string_len(32).not_null())
            .primary_key(Index::create().col("outbox_id").col("notifier"));
        for table in [&mut outbox, &mut deliveries] {
            if manager.get_database_backend() == DbBackend::MySql {
                table.character_set("utf8mb4").collate("utf8mb4_bin");
            }
            manager.create_table(table.clone()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager.drop_table(Table::drop().table(*table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}

/// A column `body`. What is kept of a failure carries its whole context, which MySQL's `TEXT` of 64 KiB may not hold.
pub(super) fn body_column(backend: DbBackend) -> ColumnDef {
    let mut body = ColumnDef::new("body");
    match backend {
        DbBackend::MySql => body.custom("LONGTEXT"),
        _ => body.text(),
    };
    body.not_null().take()
}
