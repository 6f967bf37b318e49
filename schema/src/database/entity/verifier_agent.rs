//! An enrolled agent. Table `verifiermain` (`verifier-db.md §3`).

use sea_orm::entity::prelude::*;

/// The row as this program writes it. Rows are read column by column instead, because a row that Keylime or an
/// operator wrote may hold other types.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "verifiermain")]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: String,
    pub v: Option<String>,
    pub ip: Option<String>,
    pub port: Option<i32>,
    pub operational_state: Option<i32>,
    pub public_key: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub tpm_policy: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub meta_data: Option<String>,
    pub revocation_key: Option<String>,
    pub tpm_version: Option<i32>,
    #[sea_orm(column_type = "Text")]
    pub accept_tpm_hash_algs: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub accept_tpm_encryption_algs: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub accept_tpm_signing_algs: Option<String>,
    pub hash_alg: Option<String>,
    pub enc_alg: Option<String>,
    pub sign_alg: Option<String>,
    pub ima_sign_verification_keys: Option<String>,
    pub verifier_id: Option<String>,
    pub verifier_ip: Option<String>,
    pub verifier_port: Option<i32>,
    pub boottime: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub ima_pcrs: Option<String>,
    pub pcr10: Option<Vec<u8>>,
    pub next_ima_ml_entry: Option<i64>,
    pub severity_level: Option<i32>,
    pub last_event_id: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub learned_ima_keyrings: Option<String>,
    pub supported_version: Option<String>,
    pub ak_tpm: Option<String>,
    pub mtls_cert: Option<String>,
    pub attestation_count: Option<i64>,
    pub ima_policy_id: Option<i32>,
    #[sea_orm(column_type = "Text")]
    pub tpm_clockinfo: Option<String>,
    pub last_received_quote: Option<i64>,
    pub last_successful_attestation: Option<i64>,
    pub mb_policy_id: Option<i32>,
    pub accept_attestations: bool,
    pub consecutive_attestation_failures: Option<i32>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
