//! One attestation of a push agent. Table `attestations` (`verifier-db.md §3`).

use sea_orm::entity::prelude::*;

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attestations")]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub index: i32,
    pub stage: String,
    pub evaluation: String,
    pub failure_reason: Option<String>,
    #[sea_orm(column_name = "system_info__boot_time")]
    pub system_info_boot_time: String,
    pub capabilities_received_at: String,
    pub challenges_expire_at: Option<String>,
    pub evidence_received_at: Option<String>,
    pub verification_completed_at: Option<String>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
