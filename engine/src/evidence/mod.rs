//! What agents send, read from the wire before anything is judged.

pub mod agent_reply;
pub mod attestation;
pub mod binary_text;
pub mod capabilities;
pub mod field_error;
pub mod json_bound;
pub mod loose_json;
pub mod negotiation;
pub mod offer;
pub mod presented;
pub mod quote_reply;
pub mod requirements;
pub mod submission;

pub use agent_reply::{classify_quote_reply, classify_share_reply, classify_version_reply};
pub use quote_reply::{QuoteReplyError, QuoteResults};
