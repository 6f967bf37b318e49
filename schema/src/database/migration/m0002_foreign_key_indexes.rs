//! Indexes for Keylime's foreign keys. Without them SQLite and PostgreSQL read the whole table of agents for each policy
//! row that is deleted, and all evidence for each attestation; MySQL makes such indexes by itself.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// (name, table, columns).
const INDEXES: &[(&str, &str, &[&str])] = &[
    ("ix_keylime_rs_verifiermain_ima_policy_id", "verifiermain", &["ima_policy_id"]),
    ("ix_keylime_rs_verifiermain_mb_policy_id", "verifiermain", &["mb_policy_id"]),
    ("ix_keylime_rs_evidence_items_attestation", "evidence_items", &["agent_id", "attestation_index"]),
];

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::MySql {
            return Ok(());
        }
        for (name, table, columns) in INDEXES {
            let mut index = Index::create();
            index.name(*name).table(*table).if_not_exists();
            for column in *columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::MySql {
            return Ok(());
        }
        for (name, table, _) in INDEXES {
            manager.drop_index(Index::drop().name(*name).table(*table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}
