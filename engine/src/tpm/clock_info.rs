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

/// How a TPM's clock contradicts what it said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockViolation {
    /// Fewer resets than before.
    #[error("resetCount value decreased on TPM between two consecutive quotes")]
    ResetCount,
    /// Fewer restarts than before.
    #[error("restartCount value decreased on TPM between two consecutive quotes")]
    RestartCount,
    /// The TPM itself says that its clock may have run before.
    #[error("clock safe flag is disabled")]
    Unsafe,
    /// The clock did not advance.
    #[error("clock timestamp did issued by TPM did not increase between two consecutive quotes")]
    NotAdvanced,
}

impl ClockInfo {
    /// Whether this clock may follow `previous` ([`ClockInfo::default`] before the first quote).
    ///
    /// The clock must advance, unless both counters did: only then was it legitimately set back. The caller stores this
    /// value after *every* accepted quote; keeping the older one after a reboot would leave a constant clock unnoticed.
    ///
    /// # Errors
    /// See [`ClockViolation`].
    pub const fn may_follow(&self, previous: &Self) -> Result<(), ClockViolation> {
        if self.reset_count < previous.reset_count {
            return Err(ClockViolation::ResetCount);
        }
        if self.restart_count < previous.restart_count {
            return Err(ClockViolation::RestartCount);
        }
        if self.safe != 1 {
            return Err(ClockViolation::Unsafe);
        }
        let both_advanced = self.reset_count > previous.reset_count && self.restart_count > previous.restart_count;
        if !both_advanced && self.clock <= previous.clock {
            return Err(ClockViolation::NotAdvanced);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_json_form_of_keylime() {
        let clock = ClockInfo { clock: 7, reset_count: 2, restart_count: 1, safe: 1 };
        let text = r#"{"clock":7,"resetCount":2,"restartCount":1,"safe":1}"#;
        assert_eq!(serde_json::to_string(&clock).unwrap(), text);
        assert_eq!(serde_json::from_str::<ClockInfo>(text).unwrap(), clock);
    }

    #[test]
    fn a_constant_clock_after_a_reboot_is_noticed() {
        let before = ClockInfo { clock: 900, reset_count: 1, restart_count: 1, safe: 1 };
        let after_reboot = ClockInfo { clock: 5, reset_count: 2, restart_count: 2, safe: 1 };
        assert_eq!(after_reboot.may_follow(&before), Ok(()));
        assert_eq!(after_reboot.may_follow(&after_reboot), Err(ClockViolation::NotAdvanced));
    }
}
