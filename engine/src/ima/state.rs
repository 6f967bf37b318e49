//! What incremental appraisal remembers of one agent between quotes.

use crate::algorithm::Digest;

/// The learned state of one agent's measurement list; becomes durable only together with the verdict that used it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImaState {
    /// Number of the first entry to ask for next.
    pub next_entry: u64,
    /// Boot time the agent reported with the entries, seconds since the epoch (0 when it reports none).
    pub boottime: i64,
    /// PCR 10 after the last matched entry.
    pub pcr10: Option<Digest>,
    /// (matched line, length) of the previous list.
    pub progress: Option<(u64, u64)>,
}
