//! Actor systems of verifier and registrar: shells that turn messages into engine inputs and carry out effects.
//!
//! No decision about trust is taken here; it belongs into `keylime-engine`. actix types stay inside this crate: the
//! outside sees [`verifier::VerifierHandle`] and [`registrar::RegistrarHandle`], plain async methods with typed errors.
//! Databases, brokers and HTTP are reached through the traits of [`ports`].

#![forbid(unsafe_code)]

pub mod adapters;
pub mod persistence;
pub mod ports;
pub mod registrar;
pub mod revocation;
pub mod runtime;
pub mod sessions;
pub mod verifier;
