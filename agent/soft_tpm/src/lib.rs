//! A software TPM: enough of a TPM 2.0 to register, activate a credential, and answer quotes.
//!
//! It makes real structures and real signatures, so that everything that judges them runs as in production; there is no
//! switch anywhere that makes a verifier accept less. Fleet simulator, benches and tests use it. Keys are shared by [`Arc`],
//! because making RSA keys takes longer than a quote; keys on P-256 follow from a seed.
//!
//! ```
//! use keylime_soft_tpm::{AttestationPair, EndorsementPair, SoftTpm};
//! use keylime_engine::algorithm::HashAlgorithm;
//! use keylime_engine::tpm::pcr_mask::PcrMask;
//!
//! let ek = EndorsementPair::p256_from_seed(&[1; 32]).unwrap();
//! let ak = AttestationPair::p256_from_seed(&[2; 32]).unwrap();
//! let mut tpm = SoftTpm::new(ek.into(), ak.into(), &[HashAlgorithm::Sha256]);
//! let quote = tpm.pull_quote(HashAlgorithm::Sha256, PcrMask::of([0, 10]), "nonce", "payload key").unwrap();
//! assert!(quote.starts_with('r'));
//! ```

#![forbid(unsafe_code)]

mod attest;
mod attestation_pair;
mod credential;
mod endorsement_pair;
mod manufacturer;
mod marshal;
mod pcr_banks;
mod seeded_key;

pub use attestation_pair::AttestationPair;
pub use endorsement_pair::EndorsementPair;
pub use manufacturer::Manufacturer;

use attest::{AttestHeader, certify_attest, quote_attest};
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::data_pcr::DATA_PCR;
use keylime_engine::tpm::pcr_bank::PcrBank;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_engine::tpm::quote::QuoteParts;
use pcr_banks::PcrBanks;
use std::sync::Arc;

/// Why the software TPM refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoftTpmError {
    /// Key material that is no key, or that the library refuses.
    #[error("key is not usable")]
    Key,
    /// The bank is not allocated.
    #[error("pcr bank {0} is not allocated")]
    Bank(HashAlgorithm),
    /// The PCR cannot be reset, or does not exist.
    #[error("pcr {0} cannot be reset or extended")]
    Pcr(u8),
    /// The hash of the signing key has no implementation here.
    #[error("signing with {0} is not supported")]
    Hash(HashAlgorithm),
    /// The credential was made for another EK or AK, or is damaged.
    #[error("credential is not for these keys")]
    Credential,
    /// A certificate could not be issued.
    #[error("certificate could not be issued: {0}")]
    Certificate(String),
}

/// A TPM with one endorsement key and one attestation key.
#[derive(Debug, Clone)]
pub struct SoftTpm {
    endorsement: Arc<EndorsementPair>,
    attestation: Arc<AttestationPair>,
    banks: PcrBanks,
    clock: ClockInfo,
}

/// A signed structure: TPMS_ATTEST and TPMT_SIGNATURE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

impl SoftTpm {
    /// A TPM with these keys and allocated banks, just reset, its clock at one millisecond.
    #[must_use]
    pub fn new(endorsement: Arc<EndorsementPair>, attestation: Arc<AttestationPair>, banks: &[HashAlgorithm]) -> Self {
        let clock = ClockInfo { clock: 1, reset_count: 1, restart_count: 0, safe: 1 };
        Self { endorsement, attestation, banks: PcrBanks::new(banks), clock }
    }

    /// The endorsement key.
    #[must_use]
    pub fn endorsement(&self) -> &EndorsementPair {
        &self.endorsement
    }

    /// The attestation key.
    #[must_use]
    pub fn attestation(&self) -> &AttestationPair {
        &self.attestation
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> ClockInfo {
        self.clock
    }

    /// Lets time pass.
    pub const fn advance_clock(&mut self, milliseconds: u64) {
        self.clock.clock = self.clock.clock.saturating_add(milliseconds);
    }

    /// Turns the machine off and on: all PCRs start anew, the reset counter rises (TPM Reset).
    pub fn reset(&mut self) {
        self.banks.start_up();
        self.clock.reset_count = self.clock.reset_count.saturating_add(1);
        self.clock.restart_count = 0;
    }

    /// Suspends and resumes the machine: PCRs stay, the restart counter rises (TPM Resume).
    pub const fn resume(&mut self) {
        self.clock.restart_count = self.clock.restart_count.saturating_add(1);
    }

    /// The value of a PCR.
    #[must_use]
    pub fn pcr(&self, bank: HashAlgorithm, pcr: u8) -> Option<Digest> {
        self.banks.read(bank, pcr)
    }

    /// Extends a PCR of one bank with a digest (TPM2_PCR_Extend).
    ///
    /// # Errors
    /// [`SoftTpmError::Bank`], [`SoftTpmError::Pcr`].
    pub fn extend(&mut self, bank: HashAlgorithm, pcr: u8, digest: &Digest) -> Result<(), SoftTpmError> {
        self.banks.extend(bank, pcr, digest)
    }

    /// Hashes data with each bank's algorithm and extends all banks (TPM2_PCR_Event).
    ///
    /// # Errors
    /// [`SoftTpmError::Pcr`].
    pub fn measure(&mut self, pcr: u8, data: &[u8]) -> Result<(), SoftTpmError> {
        self.banks.measure(pcr, data)
    }

    /// Resets one of the PCRs an operating system may reset: 16 and 23 (TPM2_PCR_Reset).
    ///
    /// # Errors
    /// [`SoftTpmError::Pcr`].
    pub fn reset_pcr(&mut self, pcr: u8) -> Result<(), SoftTpmError> {
        self.banks.reset(pcr)
    }

    /// Quotes PCRs of one bank (TPM2_Quote); the clock advances by a millisecond.
    ///
    /// # Errors
    /// [`SoftTpmError::Bank`], [`SoftTpmError::Key`].
    pub fn quote(
        &mut self,
        bank: HashAlgorithm,
        mask: PcrMask,
        qualifying: &[u8],
    ) -> Result<(Attestation, PcrBank), SoftTpmError> {
        let pcrs = self.banks.select(bank, mask)?;
        let attest = quote_attest(&self.attest_header(&self.attestation, qualifying), &pcrs, self.attestation.hash());
        Ok((self.sign(&self.attestation.clone(), attest)?, pcrs))
    }

    /// Answers a quote request of the pull API: binds the payload key to PCR 16 of the bank, quotes the mask and PCR 16, and
    /// writes the quote string (`tpm-formats.md` §2 and §3).
    ///
    /// # Errors
    /// As [`Self::quote`].
    pub fn pull_quote(
        &mut self,
        bank: HashAlgorithm,
        mask: PcrMask,
        nonce: &str,
        payload_key_pem: &str,
    ) -> Result<String, SoftTpmError> {
        self.reset_pcr(DATA_PCR)?;
        self.extend(bank, DATA_PCR, &bank.digest(&[payload_key_pem.as_bytes()]))?;
        let (attestation, pcrs) = self.quote(bank, mask.with(DATA_PCR), nonce.as_bytes())?;
        let pcr_blob = pcr_blob::write_bank(&pcrs);
        Ok(QuoteParts { attest: attestation.attest, signature: attestation.signature, pcr_blob }.encode())
    }

    /// Certifies the attestation key with `signer`: an IAK, or the attestation key itself (TPM2_Certify).
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn certify_attestation_key(
        &mut self,
        signer: &AttestationPair,
        qualifying: &[u8],
    ) -> Result<Attestation, SoftTpmError> {
        let attest = certify_attest(&self.attest_header(signer, qualifying), self.attestation.name());
        self.sign(signer, attest)
    }

    /// Lets the attestation key certify itself, the proof of possession of the push model (TPM2_Certify).
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn certify_itself(&mut self, qualifying: &[u8]) -> Result<Attestation, SoftTpmError> {
        let signer = Arc::clone(&self.attestation);
        self.certify_attestation_key(&signer, qualifying)
    }

    /// Solves a credential challenge (TPM2_ActivateCredential): the blob of a registration answer, after base64.
    ///
    /// # Errors
    /// [`SoftTpmError::Credential`] when it was made for another EK or AK.
    pub fn activate_credential(&self, blob: &[u8]) -> Result<Vec<u8>, SoftTpmError> {
        credential::activate(&self.endorsement, self.attestation.name(), blob)
    }

    fn attest_header<'h>(&self, signer: &AttestationPair, qualifying: &'h [u8]) -> AttestHeader<'h> {
        AttestHeader { signer: *signer.name(), parent: *self.endorsement.name(), qualifying, clock: self.clock }
    }

    fn sign(&mut self, signer: &AttestationPair, attest: Vec<u8>) -> Result<Attestation, SoftTpmError> {
        self.advance_clock(1);
        let signature = signer.sign(&attest)?;
        Ok(Attestation { attest, signature })
    }
}

#[cfg(test)]
mod tests;
