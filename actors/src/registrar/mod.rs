//! The registrar system: registration and activation of machines.
//!
//! Requests are sharded by agent id; within a shard one id is worked on by one task at a time, so a registration, an
//! activation and a deletion of the same machine never interleave. What a request may do is decided by
//! [`keylime_engine::identity::registration`]; this module only loads, asks, writes and answers. Of two processes that
//! register the same id the database decides, because every write is compared with what was read.

pub mod api;
pub mod certificate_store_directory;
pub mod memory_store;

mod group_commit;
mod known_ids;
mod recent_registrations;
mod record_conversion;
mod registrar_handle;
mod registration_shard;
mod registration_task;
mod store_location;

pub use api::*;
pub use registrar_handle::{RegistrarHandle, RegistrarOptions, start};
pub use store_location::StoreLocation;
