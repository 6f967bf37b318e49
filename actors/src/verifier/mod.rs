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
mod push_agent_actor;
mod push_agent_effects;
pub mod push_api;
mod push_handle;
mod push_interval;
pub mod push_material;
mod push_rows;
mod reconciler;
mod recovery;
mod row_outcome;
mod shard_context;
mod shard_supervisor;
pub mod shared_terms;
mod status;
mod verifier_handle;

pub use agent_material::AgentTls;
pub use api::*;
pub use appraiser::{AppraisalJob, Appraiser, PushAppraisalJob};
pub use engine_appraiser::EngineAppraiser;
pub use one_shot::{EvidenceError, JudgedEvidence, PresentedEvidence};
pub use options::{AttestationModel, PushOptions, Shards, VerifierOptions, VerifierPorts};
pub use push_api::{AcceptedEvidence, PushError, Selector};
pub use verifier_handle::{Readiness, VerifierHandle, start};
