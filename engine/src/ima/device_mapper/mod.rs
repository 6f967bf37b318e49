//! Device-mapper events in a measurement list, against the device-mapper policy (`ima.md` §10).
//!
//! Keylime's schema refuses such policies at upload, so they arrive only with evidence that is presented once; the rules are
//! Keylime's, and where its code raises an exception here is a named failure.

mod failure;
pub mod grammar;
mod policy;
mod state;

pub use failure::{DeviceMapperFailure, EventKind};
pub use policy::{DeviceMapperPolicy, DeviceMapperPolicyError};
pub use state::{Device, DeviceMapperState, MAX_DEVICES, TableHash};
