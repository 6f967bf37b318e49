//! A notifier that has not confirmed a revocation yet. Table `revocation_outbox_deliveries`, our own.

use sea_orm::entity::prelude::*;

/// The row. It goes when the notifier confirms.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_outbox_deliveries")]
pub struct Model {
    /// Event id of the notice.
    #[sea_orm(primary_key, auto_increment = false)]
    pub outbox_id: String,
    /// Name of the notifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub notifier: String,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
