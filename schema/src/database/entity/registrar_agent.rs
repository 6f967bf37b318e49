//! A registration. Table `registrarmain` (`registrar.md §5`).

use sea_orm::entity::prelude::*;

/// The row as this program writes it. Rows are read column by column instead, because a row that Keylime or an
/// operator wrote may hold other types.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "registrarmain")]
#[allow(missing_docs, reason = "the fields are the columns of registrar.md §5")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: String,
    pub key: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub ekcert: Option<String>,
    #[sea_orm(column_name = "virtual")]
    pub is_virtual: Option<bool>,
    pub active: Option<bool>,
    #[sea_orm(column_type = "Text")]
    pub provider_keys: Option<String>,
    pub regcount: Option<i32>,
    pub aik_tpm: Option<String>,
    pub ek_tpm: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    #[sea_orm(column_type = "Text")]
    pub mtls_cert: Option<String>,
    pub iak_tpm: Option<String>,
    pub idevid_tpm: Option<String>,
    pub iak_cert: Option<String>,
    pub idevid_cert: Option<String>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
