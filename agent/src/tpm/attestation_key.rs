//! Making or loading the attestation key, and solving credential challenges with it (`tpm-formats.md` §6 and §8).

use tss_esapi::abstraction::{DefaultKey, ak};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, SignatureSchemeAlgorithm};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Digest, DigestList, EncryptedSecret, IdObject, Private, Public, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

use crate::tpm::credential_blob::CredentialBlob;
use crate::tpm::endorsement_key::to_tss_key;
use crate::tpm::esapi::{EsapiTpm, to_tss_hash};
use crate::tpm::leftovers::is_out_of_room;
use crate::tpm::{AttestationKey, AttestationKeyRequest, KeyOrigin, SigningAlgorithm, StoredKey, TpmError};

/// Branches A and C of the high-range EK policy, by name algorithm (TCG EK Credential Profile 2.5, annex B.6).
const POLICY_BRANCHES: [(HashingAlgorithm, &str, &str); 3] = [
    (
        HashingAlgorithm::Sha384,
        "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53",
        "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165",
    ),
    (
        HashingAlgorithm::Sha512,
        "1e3b76502c8a1425aa0b7b3fc646a1b0fae063b03b5368f9c4cddecaff0891dd\
         682bac1a85d4d832b781ea451915de5fc5bf0dc4a1917cd42fa041e3f998e0ee",
        "589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105f\
         ba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8",
    ),
    (
        HashingAlgorithm::Sm3_256,
        "c67f7d35f66f3bec13c89fe898921c651b0cb5a38a92690a62a43c0012e4fb8b",
        "2d4e81578c3531d9bd1cdd7d02ba298d5699a3e39fc3551bfeffcf132b49e11d",
    ),
];

impl EsapiTpm {
    pub(super) fn open_attestation_key(&mut self, request: &AttestationKeyRequest) -> Result<AttestationKey, TpmError> {
        if !request.signing.fits(request.algorithm) {
            return Err(TpmError::SchemeMismatch { signing: request.signing, key: request.algorithm });
        }
        let parent = self.endorsement_key.ok_or(TpmError::KeyNotLoaded("endorsement key"))?.handle;
        let loaded = match &request.stored {
            Some(stored) => match self.load_blobs(parent, stored) {
                Ok(handle) => Some((handle, stored.clone(), KeyOrigin::Stored)),
                // A new key would be another identity, which the registrar refuses; this passes.
                Err(error) if is_out_of_room(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "keylime.agent", %error, "cannot load the stored attestation key, making a new one");
                    None
                }
            },
            None => None,
        };
        let (handle, blobs, origin) = match loaded {
            Some(loaded) => loaded,
            None => {
                let blobs = self.create_blobs(parent, request)?;
                (self.load_blobs(parent, &blobs)?, blobs, KeyOrigin::Created)
            }
        };
        self.attestation_key = Some(handle);
        Ok(AttestationKey { blobs, handle: tss_esapi::tss2_esys::ESYS_TR::from(handle), origin })
    }

    fn create_blobs(&mut self, parent: KeyHandle, request: &AttestationKeyRequest) -> Result<StoredKey, TpmError> {
        let created = ak::create_ak_2(
            &mut self.context,
            parent,
            to_tss_hash(request.hash),
            to_tss_key(request.algorithm),
            to_tss_scheme(request.signing),
            None,
            DefaultKey,
        )
        .map_err(TpmError::command("create attestation key"))?;
        Ok(StoredKey {
            public: created.out_public.marshall().map_err(TpmError::command("marshal attestation key"))?,
            private: created.out_private.to_vec(),
        })
    }

    fn load_blobs(&mut self, parent: KeyHandle, stored: &StoredKey) -> Result<KeyHandle, TpmError> {
        let public = Public::unmarshall(&stored.public).map_err(TpmError::command("read stored attestation key"))?;
        let private =
            Private::try_from(stored.private.clone()).map_err(TpmError::command("read stored attestation key"))?;
        ak::load_ak(&mut self.context, parent, None, private, public).map_err(TpmError::command("load attestation key"))
    }

    pub(super) fn activate(&mut self, blob: &CredentialBlob) -> Result<Vec<u8>, TpmError> {
        let ek = self.endorsement_key.ok_or(TpmError::KeyNotLoaded("endorsement key"))?.handle;
        let ak = self.attestation_key.ok_or(TpmError::KeyNotLoaded("attestation key"))?;
        let credential = IdObject::try_from(blob.credential.clone()).map_err(TpmError::command("read credential"))?;
        let secret = EncryptedSecret::try_from(blob.secret.clone()).map_err(TpmError::command("read credential"))?;
        let session = self.endorsement_session(ek)?;
        let object = ObjectHandle::from(SessionHandle::from(session));
        let digest = self
            .context
            .execute_with_temporary_object(object, |context, _| {
                context.execute_with_sessions((Some(AuthSession::Password), Some(session), None), |context| {
                    context.activate_credential(ak, ek, credential, secret)
                })
            })
            .map_err(TpmError::command("activate credential"))?;
        Ok(digest.to_vec())
    }

    /// A policy session that satisfies the endorsement key's policy. The caller flushes it.
    fn endorsement_session(&mut self, ek: KeyHandle) -> Result<AuthSession, TpmError> {
        let failed = TpmError::command("start a policy session");
        let (public, _, _) = self
            .context
            .execute_without_session(|context| context.read_public(ek))
            .map_err(TpmError::command("read endorsement key"))?;
        let name_algorithm = public.name_hashing_algorithm();
        let session = self
            .context
            .start_auth_session(None, None, None, SessionType::Policy, symmetric_of(&public), name_algorithm)
            .map_err(failed)?
            .ok_or(TpmError::UnexpectedAnswer { command: "start a policy session" })?;
        let satisfied = self.satisfy_policy(session, name_algorithm);
        if let Err(source) = satisfied {
            let _ = self.context.flush_context(SessionHandle::from(session).into());
            return Err(TpmError::Command { command: "satisfy the endorsement key's policy", source });
        }
        Ok(session)
    }

    fn satisfy_policy(
        &mut self,
        session: AuthSession,
        name_algorithm: HashingAlgorithm,
    ) -> Result<(), tss_esapi::Error> {
        let (attributes, mask) = SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
        self.context.tr_sess_set_attributes(session, attributes, mask)?;
        let policy = PolicySession::try_from(session)?;
        self.context.execute_with_nullauth_session(|context| {
            context.policy_secret(
                policy,
                AuthHandle::Endorsement,
                Default::default(),
                Default::default(),
                Default::default(),
                None,
            )
        })?;
        let Some((_, a, c)) = POLICY_BRANCHES.iter().find(|(hash, _, _)| *hash == name_algorithm) else {
            return Ok(());
        };
        let mut branches = DigestList::new();
        for branch in [a, c] {
            // The constants above are hexadecimal of a digest's length; the library checks the latter again.
            branches.add(Digest::try_from(hex::decode(branch).unwrap_or_default())?)?;
        }
        self.context.execute_without_session(|context| context.policy_or(policy, branches))
    }
}

/// The symmetric algorithm of a storage key, used for the parameter encryption of its sessions.
fn symmetric_of(public: &Public) -> SymmetricDefinition {
    let object: Option<SymmetricDefinitionObject> = match public {
        Public::Rsa { parameters, .. } => Some(parameters.symmetric_definition_object()),
        Public::Ecc { parameters, .. } => Some(parameters.symmetric_definition_object()),
        _ => None,
    };
    object.map_or(SymmetricDefinition::AES_128_CFB, SymmetricDefinition::from)
}

fn to_tss_scheme(signing: SigningAlgorithm) -> SignatureSchemeAlgorithm {
    match signing {
        SigningAlgorithm::RsaSsa => SignatureSchemeAlgorithm::RsaSsa,
        SigningAlgorithm::RsaPss => SignatureSchemeAlgorithm::RsaPss,
        SigningAlgorithm::EcDsa => SignatureSchemeAlgorithm::EcDsa,
        SigningAlgorithm::EcSchnorr => SignatureSchemeAlgorithm::EcSchnorr,
    }
}
