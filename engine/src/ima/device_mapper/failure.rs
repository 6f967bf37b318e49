//! Failures of device-mapper events, with Keylime's ids.

use serde_json::{Value, json};
use std::borrow::Cow;

/// A device-mapper event by its name in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A table was loaded for a device.
    TableLoad,
    /// A device became active.
    DeviceResume,
    /// A device was removed.
    DeviceRemove,
    /// A device's inactive table was dropped.
    TableClear,
    /// A device got another name or UUID.
    DeviceRename,
    /// A target reported a change of its state.
    TargetUpdate,
}

impl EventKind {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::TableLoad,
        Self::DeviceResume,
        Self::DeviceRemove,
        Self::TableClear,
        Self::DeviceRename,
        Self::TargetUpdate,
    ];

    /// The name in the list, which is also the component of failures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TableLoad => "dm_table_load",
            Self::DeviceResume => "dm_device_resume",
            Self::DeviceRemove => "dm_device_remove",
            Self::TableClear => "dm_table_clear",
            Self::DeviceRename => "dm_device_rename",
            Self::TargetUpdate => "dm_target_update",
        }
    }

    /// The event of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is wrong with a device-mapper event or with the devices after it.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceMapperFailure {
    /// The logged digest is not the digest of the event, or of an unknown algorithm.
    InvalidData {
        /// The digest as logged.
        logged: String,
    },
    /// The event does not follow the grammar.
    ParsingFailed {
        /// Where and why.
        reason: String,
    },
    /// The policy lacks what this event has to be judged by.
    PolicyIncomplete {
        /// The missing member.
        member: String,
    },
    /// The event does not follow from the events before it, or the policy forbids it.
    Event {
        /// The event.
        kind: EventKind,
        /// The last part of the id.
        reason: &'static str,
        /// The device, target or attribute concerned.
        subject: String,
        /// The value found.
        got: Value,
        /// The value the policy asks for.
        expected: Value,
    },
    /// A device is not in the state its rule demands.
    DeviceInvalidState {
        /// The device.
        device: String,
    },
    /// No valid device uses a required rule.
    RequiredPolicyNotInUse {
        /// The rule.
        rule: String,
    },
}

impl DeviceMapperFailure {
    /// The part of the event id after `ima.validation.dm.`.
    #[must_use]
    pub fn id(&self) -> Cow<'static, str> {
        match self {
            Self::InvalidData { .. } => Cow::Borrowed("invalid_data"),
            Self::ParsingFailed { .. } => Cow::Borrowed("parsing_failed"),
            // Not one of Keylime's: there this case raises an exception.
            Self::PolicyIncomplete { .. } => Cow::Borrowed("invalid_policy"),
            Self::Event { kind, reason, .. } => Cow::Owned(format!("{}.{reason}", kind.name())),
            Self::DeviceInvalidState { .. } => Cow::Borrowed("device_invalid_state"),
            Self::RequiredPolicyNotInUse { .. } => Cow::Borrowed("required_policy_not_in_use"),
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::Event { got, expected, .. } => json!({ "message": self.detail(), "got": got, "expected": expected }),
            Self::InvalidData { .. }
            | Self::ParsingFailed { .. }
            | Self::PolicyIncomplete { .. }
            | Self::DeviceInvalidState { .. }
            | Self::RequiredPolicyNotInUse { .. } => json!({ "message": self.detail() }),
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::InvalidData { logged } => format!("the logged digest {logged} is not the digest of the event data"),
            Self::ParsingFailed { reason } => format!("the event cannot be read: {reason}"),
            Self::PolicyIncomplete { member } => {
                format!("dm_policy has no usable {member}, which this event is judged by")
            }
            Self::Event { reason, subject, got, expected, .. } => {
                let reason = reason.replace('_', " ");
                if got.is_null() && expected.is_null() {
                    format!("{subject}: {reason}")
                } else {
                    format!("{subject}: {reason} (got {got}, the policy has {expected})")
                }
            }
            Self::DeviceInvalidState { device } => format!("device {device:?} is not in the state its rule demands"),
            Self::RequiredPolicyNotInUse { rule } => format!("no valid device uses the required rule {rule:?}"),
        }
    }
}
