//! The seam between the gateway and whatever decides about authorization.

use super::{Action, Identity};

/// What a provider is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// What for.
    pub action: Action,
    /// On which agent, policy or session; from the path, nowhere else.
    pub resource: Option<&'a str>,
}

/// A provider's answer, with the reason that is shown to the client or written to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow(String),
    /// Refused.
    Deny(String),
}

/// Decides about requests; stateless, called from all threads.
pub trait Provider: Send + Sync + 'static {
    /// The provider's name in the configuration and in logs.
    fn name(&self) -> &'static str;

    /// Decides.
    fn authorize(&self, question: Question<'_>) -> Decision;
}

/// The provider in force when the configured one cannot be used for a reason other than its name.
#[derive(Debug, Clone, Copy)]
pub struct DenyAll;

impl Provider for DenyAll {
    fn name(&self) -> &'static str {
        "deny_all"
    }

    fn authorize(&self, _: Question<'_>) -> Decision {
        Decision::Deny("Authorization provider failed to load - denying all requests for security".to_owned())
    }
}
