//! The outside world behind the traits of [`crate::ports`].

mod agent_columns;
mod amendment_rows;
mod attestation_rows;
mod evidence_columns;
mod explanation_rows;
mod insert_rows;
mod json_column;
mod key_lists;
mod outbox_rows;
mod policy_rows;
pub mod registrar_store;
mod row;
pub mod session_rows;
mod store_fault;
pub mod verifier_store;
mod verifier_write;
mod write_wave;

pub mod http_evidence_transport;
mod kept_connections;
