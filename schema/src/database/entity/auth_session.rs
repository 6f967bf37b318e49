//! An authentication session of a push agent. The token itself is not stored, only its salted hash. Table `sessions` (`verifier-db.md §3`).

use sea_orm::entity::prelude::*;

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    pub token_hash: String,
    pub token_salt: String,
    pub agent_id: Option<String>,
    pub active: Option<bool>,
    pub nonce: Option<Vec<u8>>,
    pub hash_algorithm: Option<String>,
    pub signing_scheme: Option<String>,
    pub ak_attest: Option<Vec<u8>>,
    pub ak_sign: Option<Vec<u8>>,
    pub nonce_created_at: Option<String>,
    pub nonce_expires_at: Option<String>,
    pub pop_received_at: Option<String>,
    pub token_expires_at: Option<String>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
