//! Making or finding the endorsement key.

use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, DefaultKey, ek};
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::traits::Marshall as _;

use crate::tpm::esapi::{EsapiTpm, KeyLifetime, LoadedEndorsementKey};
use crate::tpm::{EndorsementKey, EndorsementKeyRequest, KeyAlgorithm, TpmError};

impl EsapiTpm {
    pub(super) fn open_endorsement_key(&mut self, request: &EndorsementKeyRequest) -> Result<EndorsementKey, TpmError> {
        let selection = to_tss_key(request.algorithm);
        let loaded = match request.persistent_handle {
            Some(handle) => {
                LoadedEndorsementKey { handle: self.persistent_key(handle)?, lifetime: KeyLifetime::Persistent }
            }
            None => {
                if !has_template(request.algorithm) {
                    return Err(TpmError::NoTemplate(request.algorithm));
                }
                let handle = ek::create_ek_object_2(&mut self.context, selection, DefaultKey)
                    .map_err(TpmError::command("create endorsement key"))?;
                LoadedEndorsementKey { handle, lifetime: KeyLifetime::Transient }
            }
        };
        self.endorsement_key = Some(loaded);
        let (public, _, _) = self
            .context
            .execute_without_session(|context| context.read_public(loaded.handle))
            .map_err(TpmError::command("read endorsement key"))?;
        Ok(EndorsementKey {
            public: public.marshall().map_err(TpmError::command("marshal endorsement key"))?,
            certificate: self.endorsement_certificate(request.algorithm),
            chain: self.endorsement_chain(),
        })
    }

    fn persistent_key(&mut self, handle: u32) -> Result<KeyHandle, TpmError> {
        let named = |source| TpmError::Command { command: "find the persistent endorsement key", source };
        let handle = TpmHandle::Persistent(PersistentTpmHandle::new(handle).map_err(named)?);
        let object =
            self.context.execute_without_session(|context| context.tr_from_tpm_public(handle)).map_err(named)?;
        Ok(object.into())
    }
}

/// The TCG profile has templates for the sizes its certificates exist in.
fn has_template(algorithm: KeyAlgorithm) -> bool {
    match algorithm {
        KeyAlgorithm::Rsa2048
        | KeyAlgorithm::Rsa3072
        | KeyAlgorithm::Rsa4096
        | KeyAlgorithm::Ecc256
        | KeyAlgorithm::Ecc384
        | KeyAlgorithm::Ecc521
        | KeyAlgorithm::EccSm2 => true,
        KeyAlgorithm::Rsa1024 | KeyAlgorithm::Ecc192 | KeyAlgorithm::Ecc224 => false,
    }
}

/// The library's name of a key kind.
pub(super) fn to_tss_key(algorithm: KeyAlgorithm) -> AsymmetricAlgorithmSelection {
    match algorithm {
        KeyAlgorithm::Rsa1024 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa1024),
        KeyAlgorithm::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        KeyAlgorithm::Rsa3072 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa3072),
        KeyAlgorithm::Rsa4096 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa4096),
        KeyAlgorithm::Ecc192 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP192),
        KeyAlgorithm::Ecc224 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP224),
        KeyAlgorithm::Ecc256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        KeyAlgorithm::Ecc384 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
        KeyAlgorithm::Ecc521 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP521),
        KeyAlgorithm::EccSm2 => AsymmetricAlgorithmSelection::Ecc(EccCurve::Sm2P256),
    }
}
