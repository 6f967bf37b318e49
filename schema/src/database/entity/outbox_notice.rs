//! A revocation that was decided. Table `revocation_outbox`, our own.

use sea_orm::entity::prelude::*;

/// The row. It goes when its last delivery is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_outbox")]
pub struct Model {
    /// Order of the decisions.
    #[sea_orm(primary_key)]
    pub seq: i64,
    /// Event id, a UUID.
    #[sea_orm(unique)]
    pub id: String,
    /// The agent concerned.
    pub agent_id: String,
    /// `revocation` or `comm_error`.
    pub kind: String,
    /// Severity label.
    pub severity_label: String,
    /// The message as it is published.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    /// Microseconds since the epoch.
    pub created_us: i64,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
