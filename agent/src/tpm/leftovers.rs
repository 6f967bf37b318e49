//! Keys that a killed agent left loaded.
//!
//! A TPM without a resource manager keeps them until it is reset, and has room for very few. They are only looked for when
//! there is no room left, where the agent could not start at all otherwise.

use tss_esapi::constants::{CapabilityType, Tss2ResponseCodeKind};
use tss_esapi::handles::{KeyHandle, TpmHandle};
use tss_esapi::structures::CapabilityData;

use crate::tpm::TpmError;
use crate::tpm::esapi::EsapiTpm;

/// First handle of loaded objects (TPM 2.0 Part 2, 7.2).
const FIRST_TRANSIENT: u32 = 0x8000_0000;
/// Loaded objects a TPM may list.
const MAX_HANDLES: u32 = 64;

impl EsapiTpm {
    /// Runs `work`; if the TPM has no room for another key, frees the keys left behind and runs it again.
    pub(super) fn with_room<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, TpmError>) -> Result<T, TpmError> {
        match work(self) {
            Err(error) if is_out_of_room(&error) => {
                let own = self.endorsement_key.map(|key| key.handle);
                let freed = self.flush_others(own).map_err(TpmError::command("free keys left behind"))?;
                tracing::warn!(target: "keylime.agent", freed, "tpm was full, freed the keys an earlier run left loaded");
                work(self)
            }
            other => other,
        }
    }

    /// Flushes every loaded object but `keep`, and answers how many.
    fn flush_others(&mut self, keep: Option<KeyHandle>) -> Result<usize, tss_esapi::Error> {
        let keep = keep.map(|handle| self.context.tr_get_name(handle.into())).transpose()?;
        let (data, _) = self.context.execute_without_session(|context| {
            context.get_capability(CapabilityType::Handles, FIRST_TRANSIENT, MAX_HANDLES)
        })?;
        let CapabilityData::Handles(handles) = data else {
            return Ok(0);
        };
        let mut freed = 0;
        for handle in handles.iter().filter(|handle| matches!(handle, TpmHandle::Transient(_))) {
            let object = self.context.execute_without_session(|context| context.tr_from_tpm_public(*handle))?;
            if Some(self.context.tr_get_name(object)?) != keep {
                self.context.flush_context(object)?;
                freed += 1;
            }
        }
        Ok(freed)
    }
}

/// Whether the TPM has no slot left for another loaded key.
pub(super) fn is_out_of_room(error: &TpmError) -> bool {
    let TpmError::Command { source: tss_esapi::Error::Tss2Error(code), .. } = error else {
        return false;
    };
    code.kind() == Some(Tss2ResponseCodeKind::ObjectMemory)
}
