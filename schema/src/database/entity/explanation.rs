//! The failures of an agent's last attestation, explained. Table `attestation_explanations`, our own.

use sea_orm::entity::prelude::*;

/// The row. It goes when the agent passes or is deleted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attestation_explanations")]
pub struct Model {
    /// The agent.
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: String,
    /// A JSON list in the form of [`crate::wire::v2::explanation::ExplainedFailure`].
    #[sea_orm(column_type = "Text")]
    pub body: String,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
