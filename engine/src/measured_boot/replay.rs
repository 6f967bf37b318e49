//! What the PCRs hold after a log: every digest extended in order, in every bank the log carries.
//!
//! Follows `measured-boot.md` §2 and the PC Client Platform Firmware Profile 1.05 §10.4.5.3: EV_NO_ACTION is not extended,
//! a startup locality or an H-CRTM sets the value PCR 0 starts from.

use super::event_log::{Event, EventLog};
use super::event_type::EventType;
use crate::algorithm::{Digest, HashAlgorithm};

/// Number of PCRs an event may name.
const PCRS: usize = 32;

/// The replayed PCRs of all banks in a log.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedPcrs {
    banks: Vec<Bank>,
}

#[derive(Debug, Clone, PartialEq)]
struct Bank {
    algorithm: HashAlgorithm,
    values: [Option<Digest>; PCRS],
}

/// Signature of the event that tells in which locality the TPM was started.
pub(super) const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

impl ReplayedPcrs {
    /// Replays a log.
    #[must_use]
    pub fn of(log: &EventLog<'_>) -> Self {
        let mut replay = Self { banks: Vec::new() };
        let mut hcrtm_seen = false;
        for event in &log.events {
            let locality = startup_locality(event).filter(|locality| *locality > 0 && !hcrtm_seen);
            let is_hcrtm = event.event_type == EventType::HCRTM_EVENT && event.pcr == 0;
            for digest in &event.digests {
                let Some(algorithm) = digest.bank() else { continue };
                let value = replay.value(algorithm, event.pcr);
                if let Some(locality) = locality.or(is_hcrtm.then_some(HCRTM_LOCALITY)) {
                    *value = with_last_byte(value, locality);
                }
                if event.event_type != EventType::NO_ACTION {
                    *value = algorithm.digest(&[value.as_bytes(), digest.digest]);
                }
            }
            hcrtm_seen |= is_hcrtm;
        }
        // Banks are reported in one order, whatever order the log brings them in.
        replay.banks.sort_by_key(|bank| bank.algorithm.tpm_id());
        replay
    }

    fn value(&mut self, algorithm: HashAlgorithm, pcr: u8) -> &mut Digest {
        let known = self.banks.iter().position(|bank| bank.algorithm == algorithm);
        let index = known.unwrap_or_else(|| {
            self.banks.push(Bank { algorithm, values: [None; PCRS] });
            self.banks.len() - 1
        });
        let values = &mut self.banks[index].values;
        values[usize::from(pcr) % PCRS].get_or_insert_with(|| Digest::filled(0, algorithm.digest_len()))
    }

    /// The banks the log has digests for.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.banks.iter().map(|bank| bank.algorithm)
    }

    /// The value of a PCR; `None` when no event names it in that bank.
    #[must_use]
    pub fn get(&self, algorithm: HashAlgorithm, pcr: u8) -> Option<&Digest> {
        self.banks.iter().find(|bank| bank.algorithm == algorithm)?.values.get(usize::from(pcr))?.as_ref()
    }

    /// The PCRs of a bank with their values, ascending.
    pub fn values(&self, algorithm: HashAlgorithm) -> impl Iterator<Item = (u8, &Digest)> {
        let bank = self.banks.iter().find(|bank| bank.algorithm == algorithm);
        let values = bank.into_iter().flat_map(|bank| bank.values.iter());
        (0_u8..).zip(values).filter_map(|(pcr, value)| Some((pcr, value.as_ref()?)))
    }

    /// The values that the kernel's boot_aggregate may have: the hash over PCRs 0 to 7 and over 0 to 9, in every bank.
    ///
    /// A PCR without an event is no reason to assume that it is zero, so a bank that lacks one has no aggregate. There is
    /// none for SM3 either, because the reference's hash library has no SM3 under the name of the bank.
    #[must_use]
    pub fn boot_aggregates(&self) -> Vec<(HashAlgorithm, Vec<Digest>)> {
        let aggregates = |algorithm: HashAlgorithm| {
            if algorithm == HashAlgorithm::Sm3_256 {
                return Vec::new();
            }
            let over = |count: u8| {
                let values: Option<Vec<&[u8]>> =
                    (0..count).map(|pcr| Some(self.get(algorithm, pcr)?.as_bytes())).collect();
                Some(algorithm.digest(&values?))
            };
            [8, 10].into_iter().filter_map(over).collect()
        };
        self.banks().map(|algorithm| (algorithm, aggregates(algorithm))).collect()
    }
}

/// What an H-CRTM sequence leaves in the last byte of PCR 0.
const HCRTM_LOCALITY: u8 = 4;

/// The startup locality an event reports.
fn startup_locality(event: &Event<'_>) -> Option<u8> {
    if event.event_type != EventType::NO_ACTION || event.pcr != 0 {
        return None;
    }
    reported_locality(event.data)
}

/// The startup locality in the data of an event without action. Only one for PCR 0 has an effect.
pub(super) fn reported_locality(data: &[u8]) -> Option<u8> {
    data.strip_prefix(STARTUP_LOCALITY)?.first().copied()
}

fn with_last_byte(value: &Digest, byte: u8) -> Digest {
    let mut bytes = value.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last = byte;
    }
    Digest::from_slice(&bytes)
}

#[cfg(test)]
mod tests;
