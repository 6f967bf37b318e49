//! The verifier system: one supervised actor per enrolled agent, in shards.

mod agent_actor;
mod agent_effects;
pub mod agent_material;
pub mod api;
pub mod appraiser;
mod key_share;
pub mod options;
pub mod policy_cache;
mod progress_rows;
mod reconciler;
mod recovery;
mod shard_context;
mod shard_supervisor;
mod status;
mod verifier_handle;

pub use agent_material::AgentTls;
pub use api::*;
pub use appraiser::{AppraisalJob, Appraiser};
pub use options::{Shards, VerifierOptions, VerifierPorts};
pub use verifier_handle::{Readiness, VerifierHandle, start};
