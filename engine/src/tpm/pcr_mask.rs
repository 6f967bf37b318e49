//! A set of PCR numbers, as the pull API's `mask` parameter and as TPM selection bytes.

use std::fmt;

/// Number of PCRs of a PC Client TPM (PC Client Platform TPM Profile, "TPM_PT_PCR_COUNT 24").
pub const PCR_COUNT: u8 = 24;

/// A set of PCRs 0 to 23.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PcrMask(u32);

/// Why a text is not a PCR mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPcrMask {
    /// Not hexadecimal, or wider than 32 bits.
    #[error("mask should be a hex encoded 32-bit integer: {0:?}")]
    NotHex(String),
    /// A bit above PCR 23 is set.
    #[error("mask selects a pcr above 23: {0:#x}")]
    Range(u32),
}

impl PcrMask {
    /// No PCR.
    pub const EMPTY: Self = Self(0);

    /// The set with these bits; `None` when a bit above PCR 23 is set.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits >> PCR_COUNT == 0 { Some(Self(bits)) } else { None }
    }

    /// Reads TPM selection bytes: bit 0 of the first byte is PCR 0 (TPM 2.0 Part 2, 10.6.1).
    #[must_use]
    pub const fn from_select(select: [u8; 3]) -> Self {
        Self(u32::from_le_bytes([select[0], select[1], select[2], 0]))
    }

    /// The TPM selection bytes.
    #[must_use]
    pub const fn to_select(self) -> [u8; 3] {
        let [a, b, c, _] = self.0.to_le_bytes();
        [a, b, c]
    }

    /// Reads the text of the `mask` parameter, with or without `0x`.
    ///
    /// # Errors
    /// See [`InvalidPcrMask`].
    pub fn from_hex(text: &str) -> Result<Self, InvalidPcrMask> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidPcrMask::NotHex(text.chars().take(32).collect()));
        }
        let bits = u32::from_str_radix(digits, 16).map_err(|_| InvalidPcrMask::NotHex(digits.to_owned()))?;
        Self::from_bits(bits).ok_or(InvalidPcrMask::Range(bits))
    }

    /// The bits; bit n is PCR n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set of these PCRs; numbers above 23 are left out.
    #[must_use]
    pub fn of(pcrs: impl IntoIterator<Item = u8>) -> Self {
        pcrs.into_iter().fold(Self::EMPTY, Self::with)
    }

    /// This set and one more PCR; a number above 23 changes nothing.
    #[must_use]
    pub const fn with(self, pcr: u8) -> Self {
        if pcr < PCR_COUNT { Self(self.0 | 1 << pcr) } else { self }
    }

    /// Whether the PCR is in the set.
    #[must_use]
    pub const fn contains(self, pcr: u8) -> bool {
        pcr < PCR_COUNT && self.0 >> pcr & 1 == 1
    }

    /// The PCRs of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The PCRs in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The PCRs of this set that are not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no PCR is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of PCRs in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The PCRs, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..PCR_COUNT).filter(move |&pcr| self.contains(pcr))
    }
}

impl fmt::Display for PcrMask {
    /// The form of the `mask` parameter: `0x`, lower case, no leading zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for PcrMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcrMask({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_selection_bytes_name_the_same_pcrs() {
        let mask = PcrMask::from_hex("0x408000").unwrap();
        assert_eq!(mask.iter().collect::<Vec<_>>(), [15, 22]);
        assert_eq!(mask.to_string(), "0x408000");
        assert_eq!(mask.to_select(), [0, 0x80, 0x40]);
        assert_eq!(PcrMask::from_select(mask.to_select()), mask);
        assert_eq!(PcrMask::of([15, 22, 99]), mask);
        assert_eq!(PcrMask::EMPTY.to_string(), "0x0");
    }

    #[test]
    fn refuses_what_no_tpm_has() {
        assert_eq!(PcrMask::from_hex("0x1000000"), Err(InvalidPcrMask::Range(0x0100_0000)));
        for text in ["", "0x", "xyz", "0x-1", "0x123456789"] {
            assert!(matches!(PcrMask::from_hex(text), Err(InvalidPcrMask::NotHex(_))), "{text:?}");
        }
    }
}
