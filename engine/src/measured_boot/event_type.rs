//! Event types, with the names policies know them by.

use std::fmt;

/// A TCG event type (PC Client Platform Firmware Profile 1.05 §10.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType(pub u32);

macro_rules! event_types {
    ($($constant:ident = $value:literal, $name:literal;)*) => {
        impl EventType {
            $(#[doc = concat!("`", $name, "`.")] pub const $constant: Self = Self($value);)*

            /// The name of the type; [`Self::UNKNOWN_NAME`] for one without.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $name,)*
                    _ => Self::UNKNOWN_NAME,
                }
            }
        }
    };
}

event_types! {
    PREBOOT_CERT = 0x0, "EV_PREBOOT_CERT";
    POST_CODE = 0x1, "EV_POST_CODE";
    UNUSED = 0x2, "EV_UNUSED";
    NO_ACTION = 0x3, "EV_NO_ACTION";
    SEPARATOR = 0x4, "EV_SEPARATOR";
    ACTION = 0x5, "EV_ACTION";
    EVENT_TAG = 0x6, "EV_EVENT_TAG";
    S_CRTM_CONTENTS = 0x7, "EV_S_CRTM_CONTENTS";
    S_CRTM_VERSION = 0x8, "EV_S_CRTM_VERSION";
    CPU_MICROCODE = 0x9, "EV_CPU_MICROCODE";
    PLATFORM_CONFIG_FLAGS = 0xA, "EV_PLATFORM_CONFIG_FLAGS";
    TABLE_OF_DEVICES = 0xB, "EV_TABLE_OF_DEVICES";
    COMPACT_HASH = 0xC, "EV_COMPACT_HASH";
    IPL = 0xD, "EV_IPL";
    IPL_PARTITION_DATA = 0xE, "EV_IPL_PARTITION_DATA";
    NONHOST_CODE = 0xF, "EV_NONHOST_CODE";
    NONHOST_CONFIG = 0x10, "EV_NONHOST_CONFIG";
    NONHOST_INFO = 0x11, "EV_NONHOST_INFO";
    OMIT_BOOT_DEVICE_EVENTS = 0x12, "EV_OMIT_BOOT_DEVICE_EVENTS";
    VARIABLE_DRIVER_CONFIG = 0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG";
    VARIABLE_BOOT = 0x8000_0002, "EV_EFI_VARIABLE_BOOT";
    BOOT_SERVICES_APPLICATION = 0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION";
    BOOT_SERVICES_DRIVER = 0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER";
    RUNTIME_SERVICES_DRIVER = 0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER";
    GPT_EVENT = 0x8000_0006, "EV_EFI_GPT_EVENT";
    EFI_ACTION = 0x8000_0007, "EV_EFI_ACTION";
    PLATFORM_FIRMWARE_BLOB = 0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    HANDOFF_TABLES = 0x8000_0009, "EV_EFI_HANDOFF_TABLES";
    PLATFORM_FIRMWARE_BLOB2 = 0x8000_000A, "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    HANDOFF_TABLES2 = 0x8000_000B, "EV_EFI_HANDOFF_TABLES2";
    VARIABLE_BOOT2 = 0x8000_000C, "EV_EFI_VARIABLE_BOOT2";
    HCRTM_EVENT = 0x8000_0010, "EV_EFI_HCRTM_EVENT";
    VARIABLE_AUTHORITY = 0x8000_00E0, "EV_EFI_VARIABLE_AUTHORITY";
}

impl EventType {
    /// What policies see in place of the name of a type that has none.
    pub const UNKNOWN_NAME: &'static str = "Unknown event type";
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Self::UNKNOWN_NAME => write!(f, "event type {:#x}", self.0),
            name => f.write_str(name),
        }
    }
}
