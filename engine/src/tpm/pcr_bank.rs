//! The PCR values of one bank.

use super::pcr_mask::PcrMask;
use crate::algorithm::{Digest, HashAlgorithm};

/// Values of some PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrBank {
    algorithm: HashAlgorithm,
    mask: PcrMask,
    /// One value per PCR of the mask, ascending.
    values: Vec<Digest>,
}

impl PcrBank {
    /// A bank of these values; a later value for the same PCR replaces the earlier one, numbers above 23 are left out.
    #[must_use]
    pub fn from_values(algorithm: HashAlgorithm, values: impl IntoIterator<Item = (u8, Digest)>) -> Self {
        let mut bank = Self { algorithm, mask: PcrMask::EMPTY, values: Vec::new() };
        for (pcr, value) in values {
            let position = bank.position(pcr);
            if bank.mask.contains(pcr) {
                bank.values[position] = value;
            } else if !bank.mask.with(pcr).difference(bank.mask).is_empty() {
                bank.mask = bank.mask.with(pcr);
                bank.values.insert(position, value);
            }
        }
        bank
    }

    /// A bank with one value for each PCR of the mask, ascending; `None` when their numbers differ.
    #[must_use]
    pub fn from_mask(algorithm: HashAlgorithm, mask: PcrMask, values: Vec<Digest>) -> Option<Self> {
        (values.len() == mask.len()).then_some(Self { algorithm, mask, values })
    }

    /// The hash of the bank.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The PCRs that have a value.
    #[must_use]
    pub const fn mask(&self) -> PcrMask {
        self.mask
    }

    /// The value of a PCR.
    #[must_use]
    pub fn get(&self, pcr: u8) -> Option<&Digest> {
        if self.mask.contains(pcr) { self.values.get(self.position(pcr)) } else { None }
    }

    /// PCRs and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Digest)> {
        self.mask.iter().zip(&self.values)
    }

    fn position(&self, pcr: u8) -> usize {
        let below = (1_u32 << pcr.min(31)) - 1;
        (self.mask.bits() & below).count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values_by_number() {
        let digest = |n: u8| Digest::filled(n, 32);
        let bank = PcrBank::from_values(
            HashAlgorithm::Sha256,
            [(23, digest(3)), (0, digest(1)), (10, digest(2)), (0, digest(9)), (24, digest(4)), (255, digest(5))],
        );
        assert_eq!(bank.mask(), PcrMask::of([0, 10, 23]));
        assert_eq!(bank.get(0), Some(&digest(9)));
        assert_eq!(bank.get(10), Some(&digest(2)));
        assert_eq!(bank.get(23), Some(&digest(3)));
        assert_eq!(bank.get(1), None);
        assert_eq!(bank.iter().map(|(pcr, _)| pcr).collect::<Vec<_>>(), [0, 10, 23]);
    }
}
