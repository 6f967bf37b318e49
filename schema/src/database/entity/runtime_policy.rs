//! A runtime (IMA) policy. Table `allowlists` (`verifier-db.md §3`).

use sea_orm::entity::prelude::*;

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "allowlists")]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i32,
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub tpm_policy: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub ima_policy: Option<String>,
    pub checksum: Option<String>,
    pub generator: Option<i32>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
