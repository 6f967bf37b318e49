//! Device-mapper events in a measurement list, against the device-mapper policy (`ima.md` §10).

mod failure;

pub use failure::{DeviceMapperFailure, EventKind};

use serde_json::Value;

/// The device-mapper part of a runtime policy.
#[derive(Debug, Clone)]
pub struct DeviceMapperPolicy;

/// Why a device-mapper policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceMapperPolicyError {
    /// Not an object.
    #[error("not an object")]
    NotAnObject,
}

impl DeviceMapperPolicy {
    /// Reads the policy.
    ///
    /// # Errors
    /// See [`DeviceMapperPolicyError`].
    pub fn from_json(_: &Value) -> Result<Self, DeviceMapperPolicyError> {
        Err(DeviceMapperPolicyError::NotAnObject)
    }
}
