//! A bounded reader over bytes that an attester chose.
//!
//! Never allocates and never panics: every read checks the remaining length first. The byte order is part of the type, so that
//! a reader of TPM structures cannot be handed to a parser of UEFI structures.

use std::marker::PhantomData;

/// The data ends before the field that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes are needed where {available} are left")]
pub struct Truncated {
    /// Bytes the field needs.
    pub wanted: usize,
    /// Bytes that are left.
    pub available: usize,
}

/// How numbers are laid out.
pub trait ByteOrder {
    /// A 16-bit number.
    fn u16(bytes: [u8; 2]) -> u16;
    /// A 32-bit number.
    fn u32(bytes: [u8; 4]) -> u32;
    /// A 64-bit number.
    fn u64(bytes: [u8; 8]) -> u64;
}

/// Most significant byte first: structures of the TPM (TPM 2.0 Part 1).
#[derive(Debug, Clone, Copy)]
pub struct BigEndian;

/// Least significant byte first: structures of UEFI (UEFI 2.10 §1.8.1).
#[derive(Debug, Clone, Copy)]
pub struct LittleEndian;

impl ByteOrder for BigEndian {
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_be_bytes(bytes)
    }

    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_be_bytes(bytes)
    }

    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_be_bytes(bytes)
    }
}

impl ByteOrder for LittleEndian {
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_le_bytes(bytes)
    }

    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(bytes)
    }

    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_le_bytes(bytes)
    }
}

/// A cursor that never reads past the end.
#[derive(Debug, Clone)]
pub struct ByteCursor<'a, O> {
    rest: &'a [u8],
    order: PhantomData<O>,
}

impl<'a, O: ByteOrder> ByteCursor<'a, O> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, order: PhantomData }
    }

    /// Number of bytes that are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
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

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
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
        self.array().map(O::u16)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than four bytes are left.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(O::u32)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// [`Truncated`] when fewer than eight bytes are left.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(O::u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_the_type() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let mut big = ByteCursor::<BigEndian>::new(&bytes);
        assert_eq!((big.u8(), big.u16(), big.u32()), (Ok(1), Ok(0x0203), Ok(0x0405_0607)));
        let mut little = ByteCursor::<LittleEndian>::new(&bytes);
        assert_eq!((little.u16(), little.u32()), (Ok(0x0201), Ok(0x0605_0403)));
        assert_eq!(little.u64(), Ok(0x0E0D_0C0B_0A09_0807));
        assert_eq!((little.take(1), little.rest()), (Ok(&[15][..]), &[16][..]));
    }

    #[test]
    fn a_field_beyond_the_end_leaves_the_rest_unread() {
        let mut cursor = ByteCursor::<BigEndian>::new(&[7]);
        assert_eq!(cursor.u16(), Err(Truncated { wanted: 2, available: 1 }));
        assert_eq!(cursor.take(usize::MAX), Err(Truncated { wanted: usize::MAX, available: 1 }));
        assert_eq!((cursor.len(), cursor.u8(), cursor.is_empty()), (1, Ok(7), true));
    }
}
