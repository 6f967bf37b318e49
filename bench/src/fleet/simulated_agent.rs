//! One agent: its TPM and how long its measurement list is.

use super::FleetError;
use super::measured_files::{BANK, IMA_PCR, MeasuredFiles};
use crate::soft_tpm::{Attestation, SoftTpm};
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::pcr_mask::PcrMask;
use std::time::Instant;

/// What one agent remembers; a fleet holds one per agent, so it is small.
#[derive(Debug)]
pub struct SimulatedAgent {
    tpm: SoftTpm,
    entries: u64,
    unknown_at: Option<u64>,
    asked_at: Option<Instant>,
    evidence_at: Option<Instant>,
}

/// A quote request (`agent-api.md` §2).
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// The nonce.
    pub nonce: &'a str,
    /// PCRs to quote.
    pub mask: PcrMask,
    /// First entry of the list to send.
    pub first_entry: u64,
}

/// What an agent shows for a challenge.
#[derive(Debug)]
pub struct Evidence {
    /// The quote string.
    pub quote: String,
    /// The measurement list's text and its first entry; `None` when files are not measured.
    pub list: Option<(String, u64)>,
}

impl SimulatedAgent {
    /// An agent that has just booted.
    #[must_use]
    pub const fn new(tpm: SoftTpm) -> Self {
        Self { tpm, entries: 0, unknown_at: None, asked_at: None, evidence_at: None }
    }

    /// Entries of the measurement list.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Proves possession of the attestation key (TPM2_Certify).
    ///
    /// # Errors
    /// The TPM cannot sign.
    pub fn prove_possession(&mut self, challenge: &[u8]) -> Result<Attestation, FleetError> {
        Ok(self.tpm.certify_itself(challenge)?)
    }

    /// Quotes PCRs as a push agent does, with nothing bound to PCR 16; answers the quote and the PCRs' blob.
    ///
    /// # Errors
    /// The TPM cannot sign.
    pub fn push_quote(&mut self, mask: PcrMask, challenge: &[u8]) -> Result<(Attestation, Vec<u8>), FleetError> {
        let (attestation, pcrs) = self.tpm.quote(BANK, mask, challenge)?;
        Ok((attestation, pcr_blob::write_bank(&pcrs)))
    }

    /// The list from an entry on.
    #[must_use]
    pub fn list_from(&self, files: &MeasuredFiles, first: u64) -> String {
        files.list(first, self.entries, self.unknown_at)
    }

    /// Notes that a quote was asked for; answers the seconds since it was asked for before.
    pub fn note_asked(&mut self, now: Instant) -> Option<f64> {
        let before = self.asked_at.replace(now)?;
        let gap = now.duration_since(before);
        self.tpm.advance_clock(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
        Some(gap.as_secs_f64())
    }

    /// Whether a quote was ever asked for.
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        self.asked_at.is_some()
    }

    /// When the first quote that covers the unknown file was answered.
    #[must_use]
    pub const fn evidence_at(&self) -> Option<Instant> {
        self.evidence_at
    }

    /// Measures some more allowed files; the first time the boot aggregate before them.
    ///
    /// # Errors
    /// Never with the PCRs of this module.
    pub fn measure(&mut self, files: &MeasuredFiles, new_entries: u32) -> Result<(), FleetError> {
        let boot = u64::from(self.entries == 0);
        for _ in 0..boot + u64::from(new_entries) {
            self.measure_next(files)?;
        }
        Ok(())
    }

    /// Runs the unknown file, once.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn run_unknown(&mut self, files: &MeasuredFiles, now: Instant) -> Result<(), FleetError> {
        if self.unknown_at.is_some() {
            return Ok(());
        }
        self.unknown_at = Some(self.entries);
        self.evidence_at = Some(now);
        self.measure_next(files)
    }

    fn measure_next(&mut self, files: &MeasuredFiles) -> Result<(), FleetError> {
        let entry = files.entry(self.entries, self.unknown_at);
        self.tpm.extend(BANK, IMA_PCR, entry.extension())?;
        self.entries += 1;
        Ok(())
    }

    /// Answers a challenge. A list asked for from beyond its end is sent whole.
    ///
    /// # Errors
    /// The TPM cannot sign.
    pub fn answer(
        &mut self,
        challenge: &Challenge<'_>,
        files: &MeasuredFiles,
        payload_key_pem: &str,
    ) -> Result<Evidence, FleetError> {
        let quote = self.tpm.pull_quote(BANK, challenge.mask, challenge.nonce, payload_key_pem)?;
        let list = files.are_measured().then(|| {
            let first = if challenge.first_entry <= self.entries { challenge.first_entry } else { 0 };
            (files.list(first, self.entries, self.unknown_at), first)
        });
        Ok(Evidence { quote, list })
    }
}
