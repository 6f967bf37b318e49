//! The HTTP edge of verifier and registrar, and their binaries.
//!
//! A request passes, in this order: the listener with its TLS and connection bounds ([`server`]), the route table
//! ([`routing`]), authentication and authorization ([`authorization`]), its body's bounds, and a handler ([`routes`]) that
//! asks a backend and renders the answer. Handlers take no decision about trust: the engine does, behind the backends.
//!
//! Version 3 shows the records of version 2 as resources of JSON:API: agents as `agent`, runtime policies as `ima_policy`,
//! measured boot policies as `uefi_refstate`; the modules `agents_v3`, `runtime_policies_v3` and `boot_policies_v3` of
//! [`routes`] say which attributes each has. `GET /openapi.json` lists every route that is served.
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
