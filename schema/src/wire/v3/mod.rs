//! Messages of the interface's version 3, in the shapes of JSON:API (`verifier-v3-push.md` §2).

pub mod attestation;
pub mod attestation_refusal;
pub mod attestation_request;
pub mod binary;
pub mod error_object;
pub mod json_api;
mod member_name;
pub mod session;
pub mod timestamp;

/// The media type that requests of this version carry.
pub const MEDIA_TYPE: &str = "application/vnd.api+json";
/// The media type of the answers, as Keylime's web framework sends it.
pub const ANSWER_MEDIA_TYPE: &str = "application/json; charset=UTF-8";
