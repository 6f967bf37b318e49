//! The verifier system: one supervised actor per enrolled agent, in shards.

pub mod api;

pub use api::*;
