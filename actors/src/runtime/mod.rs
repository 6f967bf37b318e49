//! What every actor system of this crate runs on: arbiters, sharding, deadlines, supervision, bounded resources, time.

pub mod actor_system;
pub mod admission;
pub mod clock;
pub mod cpu_pool;
pub mod deadline_slot;
pub mod entropy;
pub mod exit_guard;
pub mod restart_policy;
pub mod shard_map;
