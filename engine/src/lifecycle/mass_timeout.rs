//! Tells a machine that fell silent from an outage on the way to many: when a good part of the fleet is silent within a
//! minute, an operator has to look, and nobody should be told that the machines cannot be trusted.

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// How long silences are counted together.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Fewer silences than this are never an alarm.
pub const LEAST: usize = 5;
/// One alarm for this part of the fleet.
const FLEET_PART: usize = 10;

/// Counts silences.
#[derive(Debug, Default)]
pub struct MassTimeout {
    recent: VecDeque<Timestamp>,
    alarmed: Option<Timestamp>,
}

impl MassTimeout {
    /// Counts one more silence; answers how many there were within the window when that calls for an alarm. There is at
    /// most one alarm in a window.
    pub fn note(&mut self, now: Timestamp, fleet: usize) -> Option<usize> {
        while self.recent.front().is_some_and(|at| now.since(*at) > WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let count = self.recent.len();
        let is_quiet = self.alarmed.is_none_or(|at| now.since(at) > WINDOW);
        if count < LEAST.max(fleet / FLEET_PART) || !is_quiet {
            return None;
        }
        self.alarmed = Some(now);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_fleet_within_a_minute_is_one_alarm() {
        let mut silences = MassTimeout::default();
        let alarms: Vec<usize> = (0..200).filter_map(|n| silences.note(Timestamp(n * 100), 1000)).collect();
        assert_eq!(alarms, [100]);
    }

    #[test]
    fn single_silences_are_none() {
        let mut silences = MassTimeout::default();
        assert!((0..50).all(|n| silences.note(Timestamp(n * 20_000), 10).is_none()));
        assert!((0..4).all(|n| silences.note(Timestamp(9_000_000 + n), 0).is_none()));
        assert_eq!(silences.note(Timestamp(9_000_005), 0), Some(5));
    }
}
