//! PCR banks (PC Client Platform TPM Profile: 24 PCRs, 17 to 22 start with ones).

use super::SoftTpmError;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_mask::{PCR_COUNT, PcrMask};

/// The PCRs an operating system may reset.
const RESETTABLE: [u8; 2] = [16, 23];

/// All allocated banks.
#[derive(Debug, Clone)]
pub(super) struct PcrBanks {
    banks: Vec<(HashAlgorithm, Vec<Digest>)>,
}

impl PcrBanks {
    pub(super) fn new(algorithms: &[HashAlgorithm]) -> Self {
        let mut banks = Self { banks: algorithms.iter().map(|algorithm| (*algorithm, Vec::new())).collect() };
        banks.start_up();
        banks
    }

    pub(super) fn start_up(&mut self) {
        for (algorithm, values) in &mut self.banks {
            let len = algorithm.digest_len();
            *values = (0..PCR_COUNT)
                .map(|pcr| Digest::filled(if (17..=22).contains(&pcr) { 0xFF } else { 0 }, len))
                .collect();
        }
    }

    pub(super) fn read(&self, bank: HashAlgorithm, pcr: u8) -> Option<Digest> {
        let (_, values) = self.banks.iter().find(|(algorithm, _)| *algorithm == bank)?;
        values.get(usize::from(pcr)).copied()
    }

    pub(super) fn extend(&mut self, bank: HashAlgorithm, pcr: u8, digest: &Digest) -> Result<(), SoftTpmError> {
        let (_, values) =
            self.banks.iter_mut().find(|(algorithm, _)| *algorithm == bank).ok_or(SoftTpmError::Bank(bank))?;
        let value = values.get_mut(usize::from(pcr)).ok_or(SoftTpmError::Pcr(pcr))?;
        *value = bank.digest(&[value.as_bytes(), digest.as_bytes()]);
        Ok(())
    }

    pub(super) fn measure(&mut self, pcr: u8, data: &[u8]) -> Result<(), SoftTpmError> {
        for (algorithm, values) in &mut self.banks {
            let value = values.get_mut(usize::from(pcr)).ok_or(SoftTpmError::Pcr(pcr))?;
            *value = algorithm.digest(&[value.as_bytes(), algorithm.digest(&[data]).as_bytes()]);
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, pcr: u8) -> Result<(), SoftTpmError> {
        if !RESETTABLE.contains(&pcr) {
            return Err(SoftTpmError::Pcr(pcr));
        }
        for (algorithm, values) in &mut self.banks {
            values[usize::from(pcr)] = Digest::filled(0, algorithm.digest_len());
        }
        Ok(())
    }

    pub(super) fn select(&self, bank: HashAlgorithm, mask: PcrMask) -> Result<PcrBank, SoftTpmError> {
        let (_, values) =
            self.banks.iter().find(|(algorithm, _)| *algorithm == bank).ok_or(SoftTpmError::Bank(bank))?;
        let values = mask.iter().map(|pcr| values[usize::from(pcr)]).collect();
        PcrBank::from_mask(bank, mask, values).ok_or(SoftTpmError::Bank(bank))
    }
}
