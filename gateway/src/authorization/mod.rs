//! Who may do what: identity of a request, the table of actions, the provider that decides, and the proof of its decision.
//!
//! Deny by default is a matter of types: a handler takes a [`Permit`] for one [`Declared`] action, only
//! [`Gate::admit`] makes permits, and a route takes its action from its handler's permit; so there is no route without
//! an action and no way to a handler around the decision (CVE-2026-1709). The rules follow Keylime's
//! `authorization/providers/simple.py` (`authorization.md`).

mod action;
mod gate;
mod identity;
mod provider;
mod session_tokens;
mod simple;
mod token;

pub use action::{Action, ActionClass, Declared, permitted};
pub use gate::{Gate, Permit};
pub use identity::Identity;
pub use provider::{Decision, DenyAll, Provider, Question};
pub use simple::SimpleProvider;
pub use token::{NoSessions, TokenCheck, TokenRefusal, Tokens};

pub(crate) use gate::{Admission, Credentials, Refusal};
