//! Who this agent is: its id, and the hash of its endorsement key.

pub mod ek_hash;
pub mod uuid;
