//! The reader of TPM structures, "the most significant octet first" (TPM 2.0 Part 1).

use crate::byte_cursor::{BigEndian, ByteCursor};

pub use crate::byte_cursor::Truncated;

/// A cursor over a TPM structure.
pub type Reader<'a> = ByteCursor<'a, BigEndian>;

impl<'a> ByteCursor<'a, BigEndian> {
    /// The contents of a TPM2B: a 16-bit length and that many bytes.
    ///
    /// # Errors
    /// [`Truncated`] when the length field or the contents are cut short.
    pub fn sized(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_field_cannot_reach_beyond_the_data() {
        assert_eq!(Reader::new(&[0, 2, 9, 8, 7]).sized(), Ok(&[9, 8][..]));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 1]).sized(), Err(Truncated { wanted: 0xFFFF, available: 1 }));
        assert!(Reader::new(&[0]).sized().is_err());
    }
}
