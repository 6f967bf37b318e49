//! A bounded big-endian reader over bytes that an attester chose.
//!
//! Never allocates and never panics: every read checks the remaining length first. Byte order follows TPM 2.0 Part 1,
//! "the most significant octet first".

/// The structure ends before the field that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("structure ends after {available} bytes where {wanted} more were expected")]
pub struct Truncated {
    /// Bytes the field needs.
    pub wanted: usize,
    /// Bytes that are left.
    pub available: usize,
}

/// A cursor over a TPM structure.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let Some((head, tail)) = self.rest.split_at_checked(len) else {
            return Err(Truncated { wanted: len, available: self.rest.len() });
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(Truncated { wanted: N, available: self.rest.len() });
        };
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A 16-bit number.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than two bytes are left.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than four bytes are left.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than eight bytes are left.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// The contents of a TPM2B: a 16-bit length and that many bytes.
    ///
    /// # Errors
    /// [`Truncated`] when the length field or the contents are cut short.
    pub fn sized(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Everything not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_and_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 0, 2, 9, 8, 7]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.sized(), Ok(&[9, 8][..]));
        assert_eq!(reader.u16(), Err(Truncated { wanted: 2, available: 1 }));
        assert_eq!(reader.rest(), [7]);
    }

    #[test]
    fn a_length_field_cannot_reach_beyond_the_data() {
        assert!(Reader::new(&[0xFF, 0xFF, 1]).sized().is_err());
    }
}
