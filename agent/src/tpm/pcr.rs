//! Reading, resetting and extending PCRs.

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use tss_esapi::handles::PcrHandle;
use tss_esapi::structures::{DigestValues, PcrSelectionList, PcrSlot};

use crate::tpm::esapi::{EsapiTpm, to_tss_digest, to_tss_hash};
use crate::tpm::{Tpm as _, TpmError};

/// PCRs a TPM for the PC has.
pub const PCR_COUNT: u8 = 24;
/// The PCR the kernel extends with its list of measured files.
pub const IMA_PCR: u8 = 10;
/// The resettable PCR that binds the payload key to a quote.
pub const DATA_PCR: u8 = 16;
/// Values TPM2_PCR_Read returns at once.
const READ_CHUNK: usize = 8;

impl EsapiTpm {
    /// The selection of `indices` in one bank.
    pub(super) fn selection(bank: HashAlgorithm, indices: &[u8]) -> Result<PcrSelectionList, TpmError> {
        let slots = indices
            .iter()
            .map(|&index| PcrSlot::try_from(1u32 << index))
            .collect::<Result<Vec<_>, _>>()
            .map_err(TpmError::command("select pcrs"))?;
        PcrSelectionList::builder()
            .with_selection(to_tss_hash(bank), &slots)
            .build()
            .map_err(TpmError::command("select pcrs"))
    }

    /// The values of `indices` in one bank, in the order given.
    ///
    /// # Errors
    /// [`TpmError::BankNotAllocated`] when the TPM returns fewer values than asked for: it leaves out what it has not got.
    pub fn read_pcrs(&mut self, bank: HashAlgorithm, indices: &[u8]) -> Result<Vec<(u8, Digest)>, TpmError> {
        let mut values = Vec::with_capacity(indices.len());
        for chunk in indices.chunks(READ_CHUNK) {
            let selection = Self::selection(bank, chunk)?;
            let (_, _, digests) = self
                .context
                .execute_without_session(|context| context.pcr_read(selection))
                .map_err(TpmError::command("read pcrs"))?;
            if digests.value().len() != chunk.len() {
                return Err(self.bank_not_allocated(bank));
            }
            values.extend(chunk.iter().zip(digests.value()).map(|(&index, value)| (index, Digest::from_slice(value))));
        }
        Ok(values)
    }

    /// Resets [`DATA_PCR`] and extends it in one bank.
    pub(super) fn bind_data(&mut self, bank: HashAlgorithm, digest: &Digest) -> Result<(), TpmError> {
        self.context
            .execute_with_nullauth_session(|context| context.pcr_reset(PcrHandle::Pcr16))
            .map_err(TpmError::command("reset pcr 16"))?;
        self.extend_pcr(PcrHandle::Pcr16, bank, digest)
    }

    /// Extends one PCR in one bank.
    ///
    /// # Errors
    /// The TPM refused the command.
    pub fn extend_pcr(&mut self, pcr: PcrHandle, bank: HashAlgorithm, digest: &Digest) -> Result<(), TpmError> {
        let mut values = DigestValues::new();
        values.set(to_tss_hash(bank), to_tss_digest(digest)?);
        self.context
            .execute_with_nullauth_session(|context| context.pcr_extend(pcr, values))
            .map_err(TpmError::command("extend pcr"))
    }

    /// The error for a bank the TPM does not have, naming those it has.
    pub(super) fn bank_not_allocated(&mut self, bank: HashAlgorithm) -> TpmError {
        let allocated = self.allocated_banks().unwrap_or_default();
        let allocated = allocated.iter().map(|bank| bank.name()).collect::<Vec<_>>().join(", ");
        TpmError::BankNotAllocated { bank, allocated }
    }
}

/// The PCR indices of a mask, ascending.
///
/// # Errors
/// [`TpmError::PcrOutOfRange`].
pub fn indices_of_mask(mask: u32) -> Result<Vec<u8>, TpmError> {
    if mask >> PCR_COUNT != 0 {
        return Err(TpmError::PcrOutOfRange(mask));
    }
    Ok((0..PCR_COUNT).filter(|index| mask & (1 << index) != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_name_24_pcrs() {
        assert_eq!(indices_of_mask(0x0001_0401).unwrap(), [0, 10, 16]);
        assert_eq!(indices_of_mask(0xFF_FFFF).unwrap().len(), 24);
        assert!(matches!(indices_of_mask(0x0100_0000), Err(TpmError::PcrOutOfRange(0x0100_0000))));
    }
}
