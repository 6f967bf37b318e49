//! Device identity keys: IDevID and IAK, made from the TCG's templates or found at persistent handles, and the attestation key
//! certified by the IAK (`tpm-formats.md` §6 and §7; TCG TPM 2.0 Keys for Device Identity and Attestation).

use keylime_engine::algorithm::HashAlgorithm;
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, Data, PcrSelectionList, Public, SignatureScheme};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

use crate::tpm::esapi::{EsapiTpm, KeyLifetime};
use crate::tpm::{Certification, KeyAlgorithm, TpmError};

const ALG_RSA: u16 = 0x0001;
const ALG_NULL: u16 = 0x0010;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
/// userWithAuth, adminWithPolicy, fixedTPM, fixedParent, sensitiveDataOrigin, sign.
const IDEVID_ATTRIBUTES: u32 = 0x4_00F2;
/// Those, and restricted.
const IAK_ATTRIBUTES: u32 = 0x5_00F2;
/// PCRs whose values are noted when a key is made.
const CREATION_PCRS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

const POLICIES: [(HashAlgorithm, &str, &str); 3] = [
    (
        HashAlgorithm::Sha256,
        "ad6b3a2284fd698a0710bf5cc1b9bdf15e2532e3f601fa4b93a6a8fa8de579ea",
        "5437182326e414fca797d5f174615a1641f61255797c3a2b22c21d120b2d1e07",
    ),
    (
        HashAlgorithm::Sha384,
        "4db1aa836d0b5615df6ee53a40ef70c61c217f4303d44695925972bc927006cfa5cbdf6dc18c4dbe329b2f1542c3dd33",
        "129d94ebf84556652c6eef43bbb757512ac87e52be7b349ca6ce4d826f749fcf672f51716c5cbb605f313bf345aab312",
    ),
    (
        HashAlgorithm::Sha512,
        "7dd7500fd6c1b94f97a6af910da147301ef28f662fee06f225a4ccadda3b4e6b\
         38e66b2f3ad5dee1a0503cd2daedb1e68cfe4f84b03a8cd22bb6a976f071a72f",
        "8060d1fb31716a29e48a6e5fece088bcfc1b278fc162255e81c3eca3544cd44a\
         f94410c3715d561cccd9e39a6cb2646d43535bb54ea88710deb5f7836bd9b586",
    ),
];

/// Which of the two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKey {
    /// The device's identity.
    IDevId,
    /// The key that certifies attestation keys.
    Iak,
}

impl DeviceKey {
    const fn unique(self) -> &'static [u8] {
        match self {
            Self::IDevId => b"IDEVID",
            Self::Iak => b"IAK",
        }
    }

    const fn attributes(self) -> u32 {
        match self {
            Self::IDevId => IDEVID_ATTRIBUTES,
            Self::Iak => IAK_ATTRIBUTES,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::IDevId => "idevid",
            Self::Iak => "iak",
        }
    }
}

/// How one of the keys is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceKeySource {
    /// A primary key of the endorsement hierarchy from a template.
    Template(DeviceKeyTemplate),
    /// A persistent key with its password.
    Persistent {
        /// The handle.
        handle: u32,
        /// The password's bytes.
        password: Vec<u8>,
    },
}

/// Kind of key and its name algorithm, which is also that of its scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceKeyTemplate {
    /// Kind and size.
    pub algorithm: KeyAlgorithm,
    /// Name algorithm.
    pub hash: HashAlgorithm,
}

/// What is wanted of the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentityRequest {
    /// How the IDevID is had.
    pub idevid: DeviceKeySource,
    /// How the IAK is had.
    pub iak: DeviceKeySource,
    /// What the IAK signs along with the attestation key's Name.
    pub qualifying_data: Vec<u8>,
}

/// The device's keys, and the certified attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// TPMT_PUBLIC of the IDevID.
    pub idevid_public: Vec<u8>,
    /// TPMT_PUBLIC of the IAK.
    pub iak_public: Vec<u8>,
    /// The IAK's word for the attestation key.
    pub certification: Certification,
}

impl DeviceKeyTemplate {
    /// TPMT_PUBLIC of the template; none for kinds the profile has no template for.
    #[must_use]
    pub fn public_area(&self, key: DeviceKey) -> Option<Vec<u8>> {
        let is_rsa = self.algorithm.is_rsa();
        // The profile's templates for SM3 carry the policies of SHA-256.
        let policy_hash = if self.hash == HashAlgorithm::Sm3_256 { HashAlgorithm::Sha256 } else { self.hash };
        let (_, idevid, iak) = POLICIES.iter().find(|(hash, _, _)| *hash == policy_hash)?;
        let policy = hex::decode(match key {
            DeviceKey::IDevId => idevid,
            DeviceKey::Iak => iak,
        })
        .ok()?;
        let mut area = Vec::with_capacity(160);
        let push = |area: &mut Vec<u8>, number: u16| area.extend(number.to_be_bytes());
        let push_sized = |area: &mut Vec<u8>, bytes: &[u8]| {
            area.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
            area.extend(bytes);
        };
        push(&mut area, if is_rsa { ALG_RSA } else { ALG_ECC });
        push(&mut area, self.hash.tpm_id());
        area.extend(key.attributes().to_be_bytes());
        push_sized(&mut area, &policy);
        push(&mut area, ALG_NULL);
        match (is_rsa, key) {
            (true, DeviceKey::IDevId) => push(&mut area, ALG_NULL),
            (true, DeviceKey::Iak) => [ALG_RSAPSS, self.hash.tpm_id()].into_iter().for_each(|n| push(&mut area, n)),
            (false, _) => [ALG_ECDSA, self.hash.tpm_id()].into_iter().for_each(|n| push(&mut area, n)),
        }
        if is_rsa {
            push(&mut area, self.algorithm.bits());
            area.extend([0; 4]);
            push_sized(&mut area, key.unique());
        } else {
            push(&mut area, curve_id(self.algorithm)?);
            push(&mut area, ALG_NULL);
            push_sized(&mut area, key.unique());
            push_sized(&mut area, key.unique());
        }
        Some(area)
    }
}

/// TPM_ECC_CURVE.
const fn curve_id(algorithm: KeyAlgorithm) -> Option<u16> {
    match algorithm {
        KeyAlgorithm::Ecc256 => Some(0x0003),
        KeyAlgorithm::Ecc384 => Some(0x0004),
        KeyAlgorithm::Ecc521 => Some(0x0005),
        KeyAlgorithm::EccSm2 => Some(0x0020),
        KeyAlgorithm::Ecc192
        | KeyAlgorithm::Ecc224
        | KeyAlgorithm::Rsa1024
        | KeyAlgorithm::Rsa2048
        | KeyAlgorithm::Rsa3072
        | KeyAlgorithm::Rsa4096 => None,
    }
}

/// A loaded key and who has to flush it.
struct Loaded {
    handle: KeyHandle,
    lifetime: KeyLifetime,
    public: Vec<u8>,
}

impl EsapiTpm {
    /// Reads the IDevID, then lets the IAK certify the loaded attestation key; neither stays loaded.
    pub(super) fn prove_with_device_keys(
        &mut self,
        request: &DeviceIdentityRequest,
    ) -> Result<DeviceIdentity, TpmError> {
        let attestation_key = self.attestation_key.ok_or(TpmError::KeyNotLoaded("attestation key"))?;
        let idevid = self.open_device_key(DeviceKey::IDevId, &request.idevid)?;
        self.close_device_key(&idevid)?;
        let iak = self.open_device_key(DeviceKey::Iak, &request.iak)?;
        let certification = self.certify_by(attestation_key, iak.handle, &request.qualifying_data);
        self.close_device_key(&iak)?;
        Ok(DeviceIdentity { idevid_public: idevid.public, iak_public: iak.public, certification: certification? })
    }

    fn open_device_key(&mut self, key: DeviceKey, source: &DeviceKeySource) -> Result<Loaded, TpmError> {
        let (handle, lifetime) = match source {
            DeviceKeySource::Template(template) => (self.make_device_key(key, template)?, KeyLifetime::Transient),
            DeviceKeySource::Persistent { handle, password } => {
                (self.find_device_key(*handle, password)?, KeyLifetime::Persistent)
            }
        };
        let (public, _, _) = self
            .context
            .execute_without_session(|context| context.read_public(handle))
            .map_err(TpmError::command("read device identity key"))?;
        let public = public.marshall().map_err(TpmError::command("marshal device identity key"))?;
        tracing::debug!(target: "keylime.agent", key = key.name(), "device identity key loaded");
        Ok(Loaded { handle, lifetime, public })
    }

    fn make_device_key(&mut self, key: DeviceKey, template: &DeviceKeyTemplate) -> Result<KeyHandle, TpmError> {
        let area = template.public_area(key).ok_or(TpmError::NoTemplate(template.algorithm))?;
        let public = Public::unmarshall(&area).map_err(TpmError::command("read device identity template"))?;
        let pcrs: PcrSelectionList = Self::selection(HashAlgorithm::Sha256, &CREATION_PCRS)?;
        let made = self
            .context
            .execute_with_nullauth_session(|context| {
                context.create_primary(Hierarchy::Endorsement, public, None, None, None, Some(pcrs))
            })
            .map_err(TpmError::command("create device identity key"))?;
        Ok(made.key_handle)
    }

    fn find_device_key(&mut self, handle: u32, password: &[u8]) -> Result<KeyHandle, TpmError> {
        let named = |source| TpmError::Command { command: "find the persistent device identity key", source };
        let handle = TpmHandle::Persistent(PersistentTpmHandle::new(handle).map_err(named)?);
        let object =
            self.context.execute_without_session(|context| context.tr_from_tpm_public(handle)).map_err(named)?;
        if !password.is_empty() {
            let auth = Auth::try_from(password.to_vec()).map_err(named)?;
            self.context.tr_set_auth(object, auth).map_err(named)?;
        }
        Ok(object.into())
    }

    fn close_device_key(&mut self, key: &Loaded) -> Result<(), TpmError> {
        match key.lifetime {
            KeyLifetime::Transient => {
                self.context.flush_context(key.handle.into()).map_err(TpmError::command("flush device identity key"))
            }
            KeyLifetime::Persistent => Ok(()),
        }
    }

    /// TPM2_Certify with passwords for both keys.
    pub(super) fn certify_by(
        &mut self,
        object: KeyHandle,
        signer: KeyHandle,
        qualifying_data: &[u8],
    ) -> Result<Certification, TpmError> {
        let data = Data::try_from(qualifying_data.to_vec()).map_err(TpmError::command("convert challenge"))?;
        let sessions = (Some(AuthSession::Password), Some(AuthSession::Password), None);
        let (attest, signature) = self
            .context
            .execute_with_sessions(sessions, |context| {
                context.certify(object.into(), signer, data, SignatureScheme::Null)
            })
            .map_err(TpmError::command("certify"))?;
        Ok(Certification {
            attest: attest.marshall().map_err(TpmError::command("marshal certification"))?,
            signature: signature.marshall().map_err(TpmError::command("marshal signature"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::tpm::public_area::PublicArea;

    #[test]
    fn templates_exist_for_the_profiles_kinds_and_are_well_formed() {
        for (algorithm, hash) in [
            (KeyAlgorithm::Rsa2048, HashAlgorithm::Sha256),
            (KeyAlgorithm::Ecc256, HashAlgorithm::Sha256),
            (KeyAlgorithm::Ecc384, HashAlgorithm::Sha384),
            (KeyAlgorithm::Ecc521, HashAlgorithm::Sha512),
            (KeyAlgorithm::Rsa3072, HashAlgorithm::Sha384),
            (KeyAlgorithm::EccSm2, HashAlgorithm::Sm3_256),
        ] {
            for key in [DeviceKey::IDevId, DeviceKey::Iak] {
                let area = DeviceKeyTemplate { algorithm, hash }.public_area(key).unwrap();
                let attributes = u32::from_be_bytes(area[4..8].try_into().unwrap());
                assert_eq!(attributes, key.attributes());
                assert_eq!(area[2..4], hash.tpm_id().to_be_bytes());
            }
        }
        let sha1 = DeviceKeyTemplate { algorithm: KeyAlgorithm::Rsa2048, hash: HashAlgorithm::Sha1 };
        assert_eq!(sha1.public_area(DeviceKey::Iak), None);
        let odd = DeviceKeyTemplate { algorithm: KeyAlgorithm::Ecc224, hash: HashAlgorithm::Sha256 };
        assert_eq!(odd.public_area(DeviceKey::Iak), None);
        // A template is no key yet: its unique part is a name.
        let area = DeviceKeyTemplate { algorithm: KeyAlgorithm::Rsa2048, hash: HashAlgorithm::Sha256 };
        assert!(PublicArea::from_tpmt(&area.public_area(DeviceKey::Iak).unwrap()).is_err() || area.algorithm.is_rsa());
    }
}
