//! The machine of an agent: what its TPM and kernel would say.

use keylime_engine::tpm::clock_info::ClockInfo;

/// A machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Second of the last boot.
    pub boot: i64,
    /// Entries of the measurement list.
    pub entries: u64,
    /// Number of the first entry that no policy allows, if there is one.
    pub evil: Option<u64>,
    clock: ClockInfo,
}

impl Machine {
    pub fn new(number: usize) -> Self {
        let boot = 1_600_000_000 + i64::try_from(number).unwrap_or(0);
        Self { boot, entries: 3, evil: None, clock: ClockInfo { clock: 10, ..ClockInfo::default() } }
    }

    /// Runs programs; a bad one stays in the list until the next boot.
    pub fn work(&mut self, programs: u64, is_bad: bool) {
        if is_bad && self.evil.is_none() {
            self.evil = Some(self.entries);
        }
        self.entries += programs + u64::from(is_bad);
    }

    pub fn reboot(&mut self) {
        self.boot += 100;
        self.entries = 3;
        self.evil = None;
        self.clock.reset_count += 1;
        self.clock.clock += 1;
    }

    /// The clock of the next quote.
    pub fn tick(&mut self) -> ClockInfo {
        self.clock.clock += 1;
        self.clock
    }

    /// A clock that was reported long ago.
    pub fn stale_clock(&self) -> ClockInfo {
        ClockInfo { clock: 1, ..self.clock }
    }
}
