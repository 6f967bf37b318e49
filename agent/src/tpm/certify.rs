//! The attestation key certifying itself, which is the proof of possession of the push model (`verifier-v3-push.md` §3).

use crate::tpm::esapi::EsapiTpm;
use crate::tpm::{Certification, TpmError};

impl EsapiTpm {
    /// Signs the attestation key's own Name and the challenge; the key is both the object certified and the signer.
    pub(super) fn certify_own_key(&mut self, qualifying_data: &[u8]) -> Result<Certification, TpmError> {
        let key = self.attestation_key.ok_or(TpmError::KeyNotLoaded("attestation key"))?;
        self.certify_by(key, key, qualifying_data)
    }
}
