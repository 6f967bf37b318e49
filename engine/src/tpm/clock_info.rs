//! TPMS_CLOCK_INFO and the rule that it must not run backwards between quotes (`tpm-formats.md` §2.5).

use serde::{Deserialize, Serialize};

/// TPMS_CLOCK_INFO (TPM 2.0 Part 2, 10.11.1), in the JSON form that Keylime stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockInfo {
    /// Milliseconds the TPM was powered.
    pub clock: u64,
    /// Number of TPM resets.
    #[serde(rename = "resetCount")]
    pub reset_count: u32,
    /// Number of restarts since the last reset.
    #[serde(rename = "restartCount")]
    pub restart_count: u32,
    /// 1 when no later clock value can have been reported before.
    pub safe: u8,
}

impl Default for ClockInfo {
    fn default() -> Self {
        Self { clock: 0, reset_count: 0, restart_count: 0, safe: 1 }
    }
}
