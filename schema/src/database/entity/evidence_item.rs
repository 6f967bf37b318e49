//! One piece of evidence of an attestation: what the agent can do, what was chosen, what it sent, what came of it. Table `evidence_items` (`verifier-db.md §3`).

use sea_orm::entity::prelude::*;

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "evidence_items")]
#[allow(missing_docs, reason = "the fields are the columns of verifier-db.md §3")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i32,
    pub agent_id: String,
    pub attestation_index: i32,
    pub evidence_class: String,
    pub evidence_type: String,
    #[sea_orm(column_name = "capabilities__component_version")]
    pub capabilities_component_version: Option<String>,
    #[sea_orm(column_name = "capabilities__evidence_version")]
    pub capabilities_evidence_version: Option<String>,
    #[sea_orm(column_name = "capabilities__signature_schemes", column_type = "Text")]
    pub capabilities_signature_schemes: Option<String>,
    #[sea_orm(column_name = "capabilities__hash_algorithms", column_type = "Text")]
    pub capabilities_hash_algorithms: Option<String>,
    #[sea_orm(column_name = "capabilities__available_subjects", column_type = "Text")]
    pub capabilities_available_subjects: Option<String>,
    #[sea_orm(column_name = "capabilities__certification_keys", column_type = "Text")]
    pub capabilities_certification_keys: Option<String>,
    #[sea_orm(column_name = "capabilities__entry_count")]
    pub capabilities_entry_count: Option<i32>,
    #[sea_orm(column_name = "capabilities__supports_partial_access")]
    pub capabilities_supports_partial_access: Option<bool>,
    #[sea_orm(column_name = "capabilities__appendable")]
    pub capabilities_appendable: Option<bool>,
    #[sea_orm(column_name = "capabilities__formats", column_type = "Text")]
    pub capabilities_formats: Option<String>,
    #[sea_orm(column_name = "capabilities__meta", column_type = "Text")]
    pub capabilities_meta: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__challenge")]
    pub chosen_parameters_challenge: Option<Vec<u8>>,
    #[sea_orm(column_name = "chosen_parameters__signature_scheme")]
    pub chosen_parameters_signature_scheme: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__hash_algorithm")]
    pub chosen_parameters_hash_algorithm: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__selected_subjects", column_type = "Text")]
    pub chosen_parameters_selected_subjects: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__certification_key", column_type = "Text")]
    pub chosen_parameters_certification_key: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__starting_offset")]
    pub chosen_parameters_starting_offset: Option<i32>,
    #[sea_orm(column_name = "chosen_parameters__entry_count")]
    pub chosen_parameters_entry_count: Option<i32>,
    #[sea_orm(column_name = "chosen_parameters__format")]
    pub chosen_parameters_format: Option<String>,
    #[sea_orm(column_name = "chosen_parameters__meta", column_type = "Text")]
    pub chosen_parameters_meta: Option<String>,
    #[sea_orm(column_name = "data__subject_data", column_type = "Text")]
    pub data_subject_data: Option<String>,
    #[sea_orm(column_name = "data__message")]
    pub data_message: Option<Vec<u8>>,
    #[sea_orm(column_name = "data__signature")]
    pub data_signature: Option<Vec<u8>>,
    #[sea_orm(column_name = "data__entry_count")]
    pub data_entry_count: Option<i32>,
    #[sea_orm(column_name = "data__entries", column_type = "Text")]
    pub data_entries: Option<String>,
    #[sea_orm(column_name = "data__meta", column_type = "Text")]
    pub data_meta: Option<String>,
    #[sea_orm(column_name = "results__certified_entry_count")]
    pub results_certified_entry_count: Option<i32>,
    #[sea_orm(column_name = "results__meta", column_type = "Text")]
    pub results_meta: Option<String>,
}

/// None are followed: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
