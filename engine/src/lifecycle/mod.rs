//! The attestation state machine of one agent.

pub mod operational_state;

pub use operational_state::OperationalState;
