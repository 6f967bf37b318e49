//! The rows, one file per table.

pub mod attestation;
pub mod auth_session;
pub mod boot_policy;
pub mod evidence_item;
pub mod explanation;
pub mod outbox_delivery;
pub mod outbox_notice;
pub mod registrar_agent;
pub mod runtime_policy;
pub mod verifier_agent;
