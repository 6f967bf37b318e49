//! The PCR blob of the quote string: C structures of tpm2-tools as they lie in memory, little-endian (`tpm-formats.md` §2.3).

use super::pcr_bank::PcrBank;
use super::pcr_mask::PcrMask;
use crate::algorithm::{Digest, HashAlgorithm};

/// Entries of the selection array, used or not.
const SELECTIONS: usize = 16;
const SELECTION_BYTES: usize = 8;
/// Selection count, selection array, number of digest lists.
const HEADER_BYTES: usize = 4 + SELECTIONS * SELECTION_BYTES + 4;
const DIGESTS_PER_LIST: usize = 8;
/// Size field and buffer of one digest.
const DIGEST_BYTES: usize = 2 + 64;
const LIST_BYTES: usize = 4 + DIGESTS_PER_LIST * DIGEST_BYTES;

/// Why a PCR blob is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPcrBlob {
    /// The blob is shorter or longer than its own counts say.
    #[error("Failed to parse the entire pcrblob")]
    Length,
    /// A selection of another size than Keylime's agents send.
    #[error("size_of_select must be either 0 or 3 but it is {0}")]
    SelectSize(u8),
    /// The bank that was signed with is not in the blob.
    #[error("pcr blob holds no bank {0}")]
    Bank(HashAlgorithm),
    /// Fewer values than selected PCRs.
    #[error("pcr_values list is too short to get item {0}")]
    TooFewValues(usize),
    /// More values than selected PCRs.
    #[error("Did not consume all entries in pcr_values list")]
    TooManyValues,
    /// The bank is selected more than once.
    #[error("pcr blob counts {0} selections of one bank")]
    Repeated(u32),
    /// A value that is not as long as the bank's digests.
    #[error("pcr value of {0} bytes does not fit the bank")]
    ValueLength(u16),
}

/// Reads the values of one bank.
///
/// # Errors
/// See [`InvalidPcrBlob`].
pub fn read_bank(blob: &[u8], bank: HashAlgorithm) -> Result<PcrBank, InvalidPcrBlob> {
    let (Some((count, rest)), true) = (blob.split_first_chunk::<4>(), blob.len() >= HEADER_BYTES) else {
        return Err(InvalidPcrBlob::Length);
    };
    let (selections, rest) = rest.split_at(SELECTIONS * SELECTION_BYTES);
    let (list_count, lists) = rest.split_at(4);
    let list_count = list_count.first_chunk::<4>().map_or(0, |n| u32::from_le_bytes(*n));
    if lists.len() % LIST_BYTES != 0 || u32::try_from(lists.len() / LIST_BYTES) != Ok(list_count) {
        return Err(InvalidPcrBlob::Length);
    }
    let mask = find_selection(selections, bank)?;
    let values = read_values(lists, bank)?;
    match_values(u32::from_le_bytes(*count), mask, values.len())?;
    let mask = if values.is_empty() { PcrMask::EMPTY } else { mask };
    PcrBank::from_mask(bank, mask, values).ok_or(InvalidPcrBlob::TooManyValues)
}

/// The last selection of the bank, as the reference's map keeps it.
fn find_selection(selections: &[u8], bank: HashAlgorithm) -> Result<PcrMask, InvalidPcrBlob> {
    let mut found = None;
    for entry in selections.chunks_exact(SELECTION_BYTES) {
        let &[low, high, size, a, b, c, _, _] = entry else { return Err(InvalidPcrBlob::Length) };
        if size != 0 && size != 3 {
            return Err(InvalidPcrBlob::SelectSize(size));
        }
        if u16::from_le_bytes([low, high]) == bank.tpm_id() {
            found = Some(if size == 3 { PcrMask::from_select([a, b, c]) } else { PcrMask::EMPTY });
        }
    }
    found.ok_or(InvalidPcrBlob::Bank(bank))
}

/// The values of all lists; the count field of a list is ignored, a size of 0 marks an unused slot.
fn read_values(lists: &[u8], bank: HashAlgorithm) -> Result<Vec<Digest>, InvalidPcrBlob> {
    let mut values = Vec::with_capacity(usize::from(super::pcr_mask::PCR_COUNT));
    for list in lists.chunks_exact(LIST_BYTES) {
        for slot in list[4..].chunks_exact(DIGEST_BYTES) {
            let size = u16::from_le_bytes([slot[0], slot[1]]);
            if size == 0 {
                continue;
            }
            if usize::from(size) != bank.digest_len() {
                return Err(InvalidPcrBlob::ValueLength(size));
            }
            values.push(Digest::from_slice(&slot[2..2 + usize::from(size)]));
        }
    }
    Ok(values)
}

/// The reference walks the bank once per counted selection and takes a value for each PCR; only one walk can come out even
/// with a TPM's digest.
fn match_values(count: u32, mask: PcrMask, values: usize) -> Result<(), InvalidPcrBlob> {
    let wanted = u64::from(count).saturating_mul(mask.len() as u64);
    let values_64 = values as u64;
    if values_64 < wanted {
        return Err(InvalidPcrBlob::TooFewValues(values));
    }
    if values_64 > wanted {
        return Err(InvalidPcrBlob::TooManyValues);
    }
    if count > 1 && wanted > 0 { Err(InvalidPcrBlob::Repeated(count)) } else { Ok(()) }
}

/// Writes the blob an agent sends for these values.
#[must_use]
pub fn write_bank(bank: &PcrBank) -> Vec<u8> {
    let lists = bank.mask().len().div_ceil(DIGESTS_PER_LIST);
    let mut blob = Vec::with_capacity(HEADER_BYTES + lists * LIST_BYTES);
    blob.extend_from_slice(&1_u32.to_le_bytes());
    blob.extend_from_slice(&bank.algorithm().tpm_id().to_le_bytes());
    blob.push(3);
    blob.extend_from_slice(&bank.mask().to_select());
    blob.resize(HEADER_BYTES - 4, 0);
    blob.extend_from_slice(&u32::try_from(lists).unwrap_or(u32::MAX).to_le_bytes());
    let values: Vec<&Digest> = bank.iter().map(|(_, value)| value).collect();
    for list in values.chunks(DIGESTS_PER_LIST) {
        let end = blob.len() + LIST_BYTES;
        blob.extend_from_slice(&u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
        for value in list {
            let slot_end = blob.len() + DIGEST_BYTES;
            let bytes = value.as_bytes();
            blob.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
            blob.extend_from_slice(bytes);
            blob.resize(slot_end, 0);
        }
        blob.resize(end, 0);
    }
    blob
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bank(mask: PcrMask) -> PcrBank {
        PcrBank::from_values(HashAlgorithm::Sha256, mask.iter().map(|pcr| (pcr, Digest::filled(pcr + 1, 32))))
    }

    #[test]
    fn one_pcr_takes_668_bytes() {
        assert_eq!(write_bank(&bank(PcrMask::of([16]))).len(), 668);
    }

    #[test]
    fn huge_counts_do_not_loop() {
        let mut blob = write_bank(&bank(PcrMask::of([16])));
        blob[..4].copy_from_slice(&[0xFF; 4]);
        assert_eq!(read_bank(&blob, HashAlgorithm::Sha256), Err(InvalidPcrBlob::TooFewValues(1)));
        let mut empty = write_bank(&bank(PcrMask::EMPTY));
        empty[..4].copy_from_slice(&[0xFF; 4]);
        assert!(read_bank(&empty, HashAlgorithm::Sha256).unwrap().mask().is_empty());
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(bits in 0_u32..1 << 24) {
            let bank = bank(PcrMask::from_bits(bits).unwrap());
            prop_assert_eq!(read_bank(&write_bank(&bank), HashAlgorithm::Sha256), Ok(bank));
        }

        #[test]
        fn is_total(mut blob in prop::collection::vec(any::<u8>(), 0..1400), lists in 0_u32..4) {
            let _outcome = read_bank(&blob, HashAlgorithm::Sha256);
            blob.resize(HEADER_BYTES + lists as usize * LIST_BYTES, 0);
            blob[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&lists.to_le_bytes());
            let _outcome = read_bank(&blob, HashAlgorithm::Sha256);
        }
    }
}
