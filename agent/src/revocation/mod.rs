//! Revocation notices: their signature, and the actions they set off (`agent-api.md` §5).

pub mod actions;
pub mod signature;
pub mod subscriber;
pub mod worker;
