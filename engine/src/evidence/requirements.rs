//! Which evidence an agent's policies call for (`evidence-and-tee.md` §5).

use crate::policy::tpm_policy::TpmPolicy;
use crate::tpm::pcr_mask::PcrMask;

/// Whether a log is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// A policy judges it.
    Wanted,
    /// Nothing judges it.
    NotWanted,
}

impl Demand {
    /// Wanted when the condition holds.
    #[must_use]
    pub const fn when(condition: bool) -> Self {
        if condition { Self::Wanted } else { Self::NotWanted }
    }

    /// Whether it is wanted.
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        matches!(self, Self::Wanted)
    }
}

/// What has to be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Requirements {
    /// PCRs to quote.
    pub pcrs: PcrMask,
    /// The firmware's event log.
    pub uefi: Demand,
    /// The kernel's measurement list.
    pub ima: Demand,
}

/// PCRs the firmware and the boot loader measure into.
const BOOT_PCRS: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];
/// The PCR into which the kernel measures files.
const IMA_PCR: u8 = 10;

impl Requirements {
    /// The requirements of these policies. `uefi` is wanted when there is a measured boot policy, `ima` when the tenant
    /// supplied a runtime policy.
    #[must_use]
    pub fn of(tpm_policy: &TpmPolicy, uefi: Demand, ima: Demand) -> Self {
        let mut pcrs = PcrMask::of(tpm_policy.demanded_pcrs());
        if uefi.is_wanted() {
            pcrs = pcrs.union(PcrMask::of(BOOT_PCRS));
        }
        if ima.is_wanted() {
            pcrs = pcrs.with(IMA_PCR);
        }
        Self { pcrs, uefi, ima }
    }

    /// Whether nothing has to be proved; such an agent can never complete an attestation.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pcrs.is_empty()
    }
}
