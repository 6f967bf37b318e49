//! What incremental appraisal remembers of one agent between quotes.

use super::device_mapper::DeviceMapperState;
use super::keyring::LearnedKeyrings;
use crate::algorithm::Digest;
use std::sync::Arc;

/// The learned state of one agent's measurement list; becomes durable only together with the verdict that used it.
///
/// Most agents learn no keys and have no device-mapper devices; for them the state is this struct and nothing on the heap.
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
    /// Keys measured by the agent's kernel.
    pub learned: Option<Arc<LearnedKeyrings>>,
    /// Devices set up by the device mapper, as of the last matched entry.
    pub device_mapper: Option<Arc<DeviceMapperState>>,
}
