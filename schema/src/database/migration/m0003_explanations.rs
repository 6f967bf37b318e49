//! Why agents failed, for people who ask after the verifier was started anew.

use super::m0001_revocation_outbox::body_column;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// The tables this migration creates.
pub(super) const TABLES: &[&str] = &["attestation_explanations"];

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table
            .table("attestation_explanations")
            .if_not_exists()
            // No foreign key: Keylime's services may delete the agent, and know nothing of this table.
            .col(ColumnDef::new("agent_id").string_len(80).not_null().primary_key())
            .col(body_column(manager.get_database_backend()));
        if manager.get_database_backend() == DbBackend::MySql {
            table.character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager.drop_table(Table::drop().table(*table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}
