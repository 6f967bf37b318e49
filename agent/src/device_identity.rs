//! Registration with device identity keys: options, certificates, and the proof (`registration-flow.md` §5).

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::public_area::PublicArea;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::configuration::device_identity_settings::{DeviceIdentitySettings, DeviceKeySettings, TemplateChoice};
use crate::registration::body::tpm2b;
use crate::tpm::device_identity::{DeviceIdentityRequest, DeviceKeySource, DeviceKeyTemplate};
use crate::tpm::password::{InvalidPassword, password_bytes};
use crate::tpm::{KeyAlgorithm, TpmError, TpmHandle};

/// Largest certificate file read, in bytes.
const MAX_CERTIFICATE_BYTES: u64 = 64 << 10;

/// Why device identity keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceIdentityError {
    /// A certificate file cannot be read.
    #[error("cannot read {}: {source}; set the option empty to go without a certificate", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate in pem or der form", .0.display())]
    NoCertificate(PathBuf),
    /// A password is malformed.
    #[error("option {option}: {source}")]
    Password {
        /// The option.
        option: &'static str,
        /// Why.
        source: InvalidPassword,
    },
    /// A certificate is about another key.
    #[error("the certificate of option {0} is not about the key in the tpm")]
    OtherKey(&'static str),
    /// The TPM failed.
    #[error("{0}")]
    Tpm(#[from] TpmError),
}

/// The members a registration gets from device identity keys, as the registrar expects them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceIdentityMembers {
    /// Base64 of the IAK's TPM2B_PUBLIC.
    pub iak_tpm: String,
    /// Base64 of the IDevID's TPM2B_PUBLIC.
    pub idevid_tpm: String,
    /// Base64 DER of the IAK's certificate.
    pub iak_cert: Option<String>,
    /// Base64 DER of the IDevID's certificate.
    pub idevid_cert: Option<String>,
    /// Base64 of TPMS_ATTEST over the attestation key.
    pub iak_attest: String,
    /// Base64 of TPMT_SIGNATURE by the IAK.
    pub iak_sign: String,
}

/// What the IAK signs: the hash of the id, or, for registrars before API 2.6, the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// SHA-256 of the id.
    Hashed,
    /// The id as it is; TPMs may refuse long ones.
    Plain,
}

impl IdForm {
    fn of(self, id: &AgentId) -> Vec<u8> {
        let id = id.as_str().as_bytes();
        match self {
            Self::Hashed => HashAlgorithm::Sha256.digest(&[id]).as_bytes().to_vec(),
            Self::Plain => id.to_vec(),
        }
    }
}

/// Makes or finds the keys, checks them against their certificates, and lets the IAK certify the attestation key.
///
/// # Errors
/// See [`DeviceIdentityError`].
pub async fn prove(
    settings: &DeviceIdentitySettings,
    tpm: &TpmHandle,
    id: &AgentId,
    form: IdForm,
) -> Result<DeviceIdentityMembers, DeviceIdentityError> {
    let certificates = [&settings.idevid, &settings.iak].map(|key| read_certificate(key.certificate.as_deref()));
    let [idevid_certificate, iak_certificate] = certificates;
    let (idevid_certificate, iak_certificate) = (idevid_certificate?, iak_certificate?);
    let request = DeviceIdentityRequest {
        idevid: source(&settings.idevid, settings.template, idevid_certificate.as_deref(), "idevid_password")?,
        iak: source(&settings.iak, settings.template, iak_certificate.as_deref(), "iak_password")?,
        qualifying_data: form.of(id),
    };
    let identity = tpm.run(move |tpm| tpm.prove_device_identity(&request)).await?;
    check_key("idevid_cert", idevid_certificate.as_deref(), &identity.idevid_public)?;
    check_key("iak_cert", iak_certificate.as_deref(), &identity.iak_public)?;
    Ok(DeviceIdentityMembers {
        iak_tpm: tpm2b(&identity.iak_public),
        idevid_tpm: tpm2b(&identity.idevid_public),
        iak_cert: iak_certificate.map(|der| STANDARD.encode(der)),
        idevid_cert: idevid_certificate.map(|der| STANDARD.encode(der)),
        iak_attest: STANDARD.encode(&identity.certification.attest),
        iak_sign: STANDARD.encode(&identity.certification.signature),
    })
}

fn source(
    key: &DeviceKeySettings,
    choice: TemplateChoice,
    certificate: Option<&[u8]>,
    option: &'static str,
) -> Result<DeviceKeySource, DeviceIdentityError> {
    Ok(match key.handle {
        Some(handle) => DeviceKeySource::Persistent {
            handle,
            password: password_bytes(&key.password)
                .map_err(|source| DeviceIdentityError::Password { option, source })?,
        },
        None => DeviceKeySource::Template(match choice {
            TemplateChoice::Fixed(template) => template,
            TemplateChoice::Detect(fallback) => certificate.and_then(template_of).unwrap_or(fallback),
        }),
    })
}

/// The template that makes keys of the kind a certificate is about.
fn template_of(certificate: &[u8]) -> Option<DeviceKeyTemplate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let bits = match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => return (key.key_size() == 2048).then(DeviceKeyTemplate::h1),
        PublicKey::EC(point) => point.key_size(),
        _ => return None,
    };
    let (algorithm, hash) = match bits {
        256 => (KeyAlgorithm::Ecc256, HashAlgorithm::Sha256),
        384 => (KeyAlgorithm::Ecc384, HashAlgorithm::Sha384),
        // A coordinate of P-521 is counted in whole bytes.
        521 | 528 => (KeyAlgorithm::Ecc521, HashAlgorithm::Sha512),
        _ => return None,
    };
    Some(DeviceKeyTemplate { algorithm, hash })
}

fn read_certificate(path: Option<&Path>) -> Result<Option<Vec<u8>>, DeviceIdentityError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let mut content = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_CERTIFICATE_BYTES).read_to_end(&mut content))
        .map_err(|source| DeviceIdentityError::Unreadable { path: path.to_owned(), source })?;
    let der = CertificateDer::from_pem_slice(&content).map_or(content, |der| der.to_vec());
    match X509Certificate::from_der(&der) {
        Ok((rest, _)) => {
            let length = der.len() - rest.len();
            Ok(Some(der[..length].to_vec()))
        }
        Err(_) => Err(DeviceIdentityError::NoCertificate(path.to_owned())),
    }
}

fn check_key(option: &'static str, certificate: Option<&[u8]>, tpmt: &[u8]) -> Result<(), DeviceIdentityError> {
    let Some(certificate) = certificate else {
        return Ok(());
    };
    let own = PublicArea::from_tpmt(tpmt).ok().and_then(|area| area.key().to_spki_der().ok());
    let certified = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed.public_key().raw.to_vec());
    if own.is_some() && own == certified { Ok(()) } else { Err(DeviceIdentityError::OtherKey(option)) }
}
