//! The verifier system: one supervised actor per enrolled agent, in shards.

mod agent_actor;
mod agent_effects;
pub mod agent_key;
pub mod agent_material;
pub mod api;
pub mod appraiser;
pub mod engine_appraiser;
mod failure_log;
mod key_share;
pub mod one_shot;
pub mod options;
pub mod policy_cache;
mod progress_rows;
mod reconciler;
mod recovery;
mod shard_context;
mod shard_supervisor;
pub mod shared_terms;
mod status;
mod verifier_handle;

pub use agent_material::AgentTls;
pub use api::*;
pub use appraiser::{AppraisalJob, Appraiser};
pub use engine_appraiser::EngineAppraiser;
pub use one_shot::{EvidenceError, JudgedEvidence, PresentedEvidence};
pub use options::{Shards, VerifierOptions, VerifierPorts};
pub use verifier_handle::{Readiness, VerifierHandle, start};
