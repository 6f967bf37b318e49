//! The HTTP edge of verifier and registrar, and their binaries.
//!
//! A request passes, in this order: the listener with its TLS and connection bounds ([`server`]), the route table
//! ([`routing`]), authentication and authorization ([`authorization`]), its body's bounds, and a handler ([`routes`]) that
//! asks a backend and renders the answer. Handlers take no decision about trust: the engine does, behind the backends.
//!
//! Nothing here names an actor; a backend is a handle with plain async methods.

#![forbid(unsafe_code)]

pub mod authorization;
pub mod backend;
pub mod boot_policies;
pub mod configuration;
mod error_response;
mod request_id;
pub mod routes;
pub mod routing;
pub mod server;
mod signing_keys;
pub mod startup;
pub mod tls;
pub mod verifier_system;
