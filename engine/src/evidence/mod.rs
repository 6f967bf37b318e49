//! What agents send, read from the wire before anything is judged.

pub mod agent_reply;
pub mod json_bound;
pub mod loose_json;
pub mod presented;
pub mod quote_reply;

pub use agent_reply::{classify_quote_reply, classify_share_reply, classify_version_reply};
pub use quote_reply::{QuoteReplyError, QuoteResults};
