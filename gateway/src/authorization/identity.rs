//! Who sent a request (`authorization.md` §2).

use keylime_engine::ids::AgentId;
use std::sync::Arc;

/// The authenticated sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Holder of a client certificate that the TLS layer verified; the first common name of its subject.
    Admin(Arc<str>),
    /// An agent with an active session.
    Agent(AgentId),
    /// Nobody known.
    Anonymous,
}
