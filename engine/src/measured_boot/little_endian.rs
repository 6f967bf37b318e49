//! The reader of UEFI structures, which are little-endian and packed (UEFI 2.10 §1.8.1).

use super::guid::Guid;
use crate::byte_cursor::{ByteCursor, LittleEndian};

pub use crate::byte_cursor::Truncated;

/// A cursor over a UEFI structure.
pub type Bytes<'a> = ByteCursor<'a, LittleEndian>;

impl ByteCursor<'_, LittleEndian> {
    /// A GUID.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than 16 bytes are left.
    pub fn guid(&mut self) -> Result<Guid, Truncated> {
        self.array().map(Guid)
    }
}
