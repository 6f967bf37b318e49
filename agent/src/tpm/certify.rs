//! The attestation key certifying itself, which is the proof of possession of the push model (`verifier-v3-push.md` §3).

use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, SignatureScheme};
use tss_esapi::traits::Marshall as _;

use crate::tpm::esapi::EsapiTpm;
use crate::tpm::{Certification, TpmError};

impl EsapiTpm {
    /// Signs the attestation key's own Name and the challenge.
    pub(super) fn certify_own_key(&mut self, qualifying_data: &[u8]) -> Result<Certification, TpmError> {
        let key = self.attestation_key.ok_or(TpmError::KeyNotLoaded("attestation key"))?;
        let data = Data::try_from(qualifying_data.to_vec()).map_err(TpmError::command("convert challenge"))?;
        // The key is both the object certified and the signer, so it is authorised twice.
        let sessions = (Some(AuthSession::Password), Some(AuthSession::Password), None);
        let (attest, signature) = self
            .context
            .execute_with_sessions(sessions, |context| context.certify(key.into(), key, data, SignatureScheme::Null))
            .map_err(TpmError::command("certify"))?;
        Ok(Certification {
            attest: attest.marshall().map_err(TpmError::command("marshal certification"))?,
            signature: signature.marshall().map_err(TpmError::command("marshal signature"))?,
        })
    }
}
