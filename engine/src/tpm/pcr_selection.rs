//! TPML_PCR_SELECTION: which PCRs of which banks a structure is about (TPM 2.0 Part 2, 10.9.7).

use super::pcr_mask::PcrMask;
use super::reader::{Reader, Truncated};
use smallvec::SmallVec;

/// Most entries a list may have: one per hash algorithm a TPM can implement (Part 2, HASH_COUNT, at most 16).
pub const MAX_SELECTIONS: u32 = 16;

/// One bank and the PCRs selected in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    /// TPM_ALG_ID of the bank.
    pub hash_id: u16,
    /// The PCRs.
    pub mask: PcrMask,
}

/// The banks of a selection list that select something.
pub type PcrSelections = SmallVec<[PcrSelection; 2]>;

/// Why a selection list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPcrSelection {
    /// The list is cut short.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// More entries than a TPM has banks.
    #[error("pcr selection lists {0} banks")]
    TooManyBanks(u32),
    /// Selection bytes beyond PCR 23 that are not zero.
    #[error("pcr selection reaches beyond pcr 23")]
    Range,
}

/// Reads a selection list; entries that select nothing are left out.
///
/// # Errors
/// See [`InvalidPcrSelection`].
pub fn read_selections(reader: &mut Reader<'_>) -> Result<PcrSelections, InvalidPcrSelection> {
    let count = reader.u32()?;
    if count > MAX_SELECTIONS {
        return Err(InvalidPcrSelection::TooManyBanks(count));
    }
    let mut selections = PcrSelections::new();
    for _ in 0..count {
        let hash_id = reader.u16()?;
        let len = usize::from(reader.u8()?);
        let bytes = reader.take(len)?;
        let (low, high) = bytes.split_at(len.min(3));
        if high.iter().any(|b| *b != 0) {
            return Err(InvalidPcrSelection::Range);
        }
        let mut select = [0; 3];
        select[..low.len()].copy_from_slice(low);
        let mask = PcrMask::from_select(select);
        if !mask.is_empty() {
            selections.push(PcrSelection { hash_id, mask });
        }
    }
    Ok(selections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_banks_and_leaves_out_empty_ones() {
        let bytes = [0, 0, 0, 2, 0, 4, 3, 0, 0, 0, 0, 0xB, 3, 1, 4, 0];
        let selections = read_selections(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(selections.as_slice(), [PcrSelection { hash_id: 0xB, mask: PcrMask::of([0, 10]) }]);
    }

    #[test]
    fn refuses_hostile_counts_and_ranges() {
        assert_eq!(read_selections(&mut Reader::new(&[0xFF; 8])), Err(InvalidPcrSelection::TooManyBanks(u32::MAX)));
        let beyond = [0, 0, 0, 1, 0, 0xB, 4, 0, 0, 0, 1];
        assert_eq!(read_selections(&mut Reader::new(&beyond)), Err(InvalidPcrSelection::Range));
    }
}
