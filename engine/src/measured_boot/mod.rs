//! The firmware's event log against the PCRs and a boot policy.
//!
//! A log is read ([`event_log`]), replayed ([`replay`]), rendered as JSON ([`event_json`]) and judged by a policy
//! ([`policy`]); [`judge`] answers the questions of an appraisal. Follows `measured-boot.md`.

pub mod device_path;
pub mod event_json;
pub mod event_log;
pub mod event_type;
mod failure;
pub mod guid;
pub mod judge;
mod little_endian;
mod parsed_log;
pub mod policy;
pub mod reference_state;
pub mod replay;

pub use failure::{MAX_NAMED_EVENTS, MeasuredBootFailure, PcrMismatch};
pub use judge::{BootEvaluation, BootJudge, BootOccasion};
pub use parsed_log::ParsedBootLog;
pub use policy::{BootPolicies, CompiledBootPolicy};
