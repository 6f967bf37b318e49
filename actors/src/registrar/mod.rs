//! The registrar system: registration and activation of machines.

pub mod api;

pub use api::*;
