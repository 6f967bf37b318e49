//! One node of a device path, with everything after it in reach.

use super::{NoDevicePath, append};
use crate::measured_boot::guid::Guid;

/// A node and the bytes after it. Offsets count from the node's first byte.
pub struct Node<'p> {
    bytes: &'p [u8],
}

impl<'p> Node<'p> {
    /// Bytes of type, subtype and length.
    pub const HEADER_BYTES: usize = 4;

    pub fn at(bytes: &'p [u8]) -> Self {
        Self { bytes }
    }

    pub fn kind(&self) -> u8 {
        self.u8(0)
    }

    pub fn subtype(&self) -> u8 {
        self.u8(1)
    }

    /// The length it claims, header included.
    pub fn length(&self) -> usize {
        self.u16(2).into()
    }

    /// The node after it.
    pub fn next(&self) -> Node<'p> {
        Node { bytes: self.bytes.get(self.length()..).unwrap_or_default() }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.bytes.get(at + index).copied().unwrap_or(0))
    }

    pub fn u8(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub fn u64_big_endian(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    pub fn guid(&self, at: usize) -> Guid {
        Guid(self.array(at))
    }

    /// The bytes from `at` up to the node's end.
    pub fn tail(&self, at: usize) -> &'p [u8] {
        let end = self.length().min(self.bytes.len());
        self.bytes.get(at..end).unwrap_or_default()
    }

    /// The bytes from `at` up to a NUL or the node's end.
    pub fn c_string(&self, at: usize) -> &'p [u8] {
        let tail = self.tail(at);
        &tail[..memchr::memchr(0, tail).unwrap_or(tail.len())]
    }

    /// Appends `count` bytes in hexadecimal.
    pub fn hex(&self, at: usize, count: usize, out: &mut String) {
        self.hex_with(at, count, "", out);
    }

    /// Appends `count` bytes in hexadecimal with a separator between them.
    pub fn hex_with(&self, at: usize, count: usize, separator: &str, out: &mut String) {
        let end = at.saturating_add(count).min(self.bytes.len());
        for (index, byte) in self.bytes.get(at..end).unwrap_or_default().iter().enumerate() {
            append(out, format_args!("{}{byte:02x}", if index == 0 { "" } else { separator }));
        }
    }

    /// Appends a node that a vendor defined: its GUID and its data.
    pub fn vendor(&self, label: &str, out: &mut String) {
        append(out, format_args!("{label}({}", self.guid(Self::HEADER_BYTES)));
        let start = Self::HEADER_BYTES + Guid::BYTES;
        if self.length() > start {
            out.push(',');
            self.hex(start, self.length() - start, out);
        }
        out.push(')');
    }

    /// Appends the UCS-2 text from `at` up to a NUL or the node's end.
    ///
    /// # Errors
    /// It holds half of a surrogate pair or one of its halves, which UCS-2 does not know and UTF-8 cannot carry.
    pub fn ucs2(&self, at: usize, out: &mut String) -> Result<(), NoDevicePath> {
        // The last place is for the terminator: what stands there is not printed.
        let units = (self.tail(at).len() / 2).saturating_sub(1);
        for unit in self.tail(at).chunks_exact(2).take(units) {
            match u16::from_le_bytes([unit[0], unit[1]]) {
                0 => break,
                unit => out.push(char::from_u32(unit.into()).ok_or(NoDevicePath)?),
            }
        }
        Ok(())
    }

    /// Appends bytes that should be UTF-8.
    ///
    /// # Errors
    /// They are not.
    pub fn utf8(bytes: &[u8], out: &mut String) -> Result<(), NoDevicePath> {
        out.push_str(std::str::from_utf8(bytes).map_err(|_| NoDevicePath)?);
        Ok(())
    }
}
