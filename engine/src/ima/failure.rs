//! Failures of a measurement list.

use serde_json::Value;
use std::borrow::Cow;

/// What is wrong with a measurement list.
#[derive(Debug, Clone, PartialEq)]
pub enum ImaFailure {
    /// No prefix of the list replays to the quoted PCR.
    PcrMismatch {
        /// The quoted value, hexadecimal.
        quoted: String,
    },
}

impl ImaFailure {
    /// The part of the event id after the component.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::PcrMismatch { .. } => Cow::Borrowed("pcr_mismatch"),
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::PcrMismatch { quoted } => {
                serde_json::json!({ "message": format!("IMA measurement list does not match TPM PCR {quoted}") })
            }
        }
    }
}
