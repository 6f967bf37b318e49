//! Registering with the registrar: versions, the request, the credential challenge (`registration-flow.md` §1).

pub mod body;
pub mod client;
pub mod resilient_client;
pub mod retry;
pub mod version_choice;

pub use client::{RegistrarClient, RegistrationError};
