//! The options `enable_iak_idevid`, `iak_*` and `idevid_*` (`agent-api.md` §7).

use std::path::{Path, PathBuf};

use keylime_engine::algorithm::HashAlgorithm;

use crate::configuration::ConfigurationError;
use crate::configuration::layers::Layers;
use crate::configuration::settings::{handle, located, named};
use crate::tpm::KeyAlgorithm;
use crate::tpm::device_identity::DeviceKeyTemplate;

/// Everything about device identity keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentitySettings {
    /// Which template makes keys without a handle.
    pub template: TemplateChoice,
    /// The identity key.
    pub idevid: DeviceKeySettings,
    /// The key that certifies.
    pub iak: DeviceKeySettings,
}

/// Which template is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateChoice {
    /// This one.
    Fixed(DeviceKeyTemplate),
    /// The one that fits the certificate; this one if there is none or none fits.
    Detect(DeviceKeyTemplate),
}

/// One of the two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKeySettings {
    /// Its persistent handle, if it is not made from a template.
    pub handle: Option<u32>,
    /// Its password as written.
    pub password: String,
    /// Its certificate, PEM or DER.
    pub certificate: Option<PathBuf>,
}

impl DeviceKeyTemplate {
    /// The profile's template H-1: RSA 2048, SHA-256.
    #[must_use]
    pub const fn h1() -> Self {
        Self { algorithm: KeyAlgorithm::Rsa2048, hash: HashAlgorithm::Sha256 }
    }

    /// One of the profile's templates by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (algorithm, hash) = match name {
            "H-1" => return Some(Self::h1()),
            "H-2" => (KeyAlgorithm::Ecc256, HashAlgorithm::Sha256),
            "H-3" => (KeyAlgorithm::Ecc384, HashAlgorithm::Sha384),
            "H-4" => (KeyAlgorithm::Ecc521, HashAlgorithm::Sha512),
            "H-5" => (KeyAlgorithm::EccSm2, HashAlgorithm::Sm3_256),
            _ => return None,
        };
        Some(Self { algorithm, hash })
    }

    /// The template of a key family whose size follows from the name algorithm.
    #[must_use]
    pub fn manual(family: &str, hash: HashAlgorithm) -> Option<Self> {
        let algorithm = match (family, hash) {
            ("rsa", HashAlgorithm::Sha256 | HashAlgorithm::Sm3_256) => KeyAlgorithm::Rsa2048,
            ("rsa", HashAlgorithm::Sha384) => KeyAlgorithm::Rsa3072,
            ("rsa", HashAlgorithm::Sha512) => KeyAlgorithm::Rsa4096,
            ("ecc", HashAlgorithm::Sha256) => KeyAlgorithm::Ecc256,
            ("ecc", HashAlgorithm::Sm3_256) => KeyAlgorithm::EccSm2,
            ("ecc", HashAlgorithm::Sha384) => KeyAlgorithm::Ecc384,
            ("ecc", HashAlgorithm::Sha512) => KeyAlgorithm::Ecc521,
            _ => return None,
        };
        Some(Self { algorithm, hash })
    }
}

impl DeviceIdentitySettings {
    /// Reads the options; none when the keys are not used.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub fn read(layers: &Layers, base: &Path) -> Result<Option<Self>, ConfigurationError> {
        if !layers.boolean("enable_iak_idevid", false)? {
            return Ok(None);
        }
        let hash = named(layers, "iak_idevid_name_alg", "sha256", HashAlgorithm::from_name)?;
        let family = layers.text("iak_idevid_asymmetric_alg", "rsa");
        let manual = DeviceKeyTemplate::manual(&family, hash);
        let template = named(layers, "iak_idevid_template", "H-1", |text| match text {
            "" | "default" | "detect" => Some(TemplateChoice::Detect(DeviceKeyTemplate::h1())),
            "manual" => manual.map(TemplateChoice::Fixed),
            name => DeviceKeyTemplate::from_name(name).map(TemplateChoice::Fixed),
        })?;
        let key = |handle_option, password, certificate, file: &str| {
            let text = layers.text(certificate, "default");
            Ok::<_, ConfigurationError>(DeviceKeySettings {
                handle: named(layers, handle_option, "", handle)?,
                password: layers.text(password, ""),
                certificate: (!text.is_empty()).then(|| located(&text, base, file)),
            })
        };
        Ok(Some(Self {
            template,
            idevid: key("idevid_handle", "idevid_password", "idevid_cert", "idevid-cert.crt")?,
            iak: key("iak_handle", "iak_password", "iak_cert", "iak-cert.crt")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Option<DeviceIdentitySettings>, ConfigurationError> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("test"), &format!("[agent]\n{text}"))?;
        DeviceIdentitySettings::read(&layers, Path::new("/work"))
    }

    #[test]
    fn off_unless_switched_on() {
        assert_eq!(settings("iak_idevid_template = \"nonsense\"\n").unwrap(), None);
        let on = settings("enable_iak_idevid = true\n").unwrap().unwrap();
        assert_eq!(on.template, TemplateChoice::Fixed(DeviceKeyTemplate::h1()));
        assert_eq!(on.iak.certificate.as_deref(), Some(Path::new("/work/iak-cert.crt")));
        assert_eq!((on.iak.handle, on.idevid.handle), (None, None));
    }

    #[test]
    fn templates_handles_and_absent_certificates() {
        let read = |text: &str| settings(&format!("enable_iak_idevid = true\n{text}")).unwrap().unwrap();
        let manual = read(
            "iak_idevid_template = \"manual\"\niak_idevid_asymmetric_alg = \"ecc\"\niak_idevid_name_alg = \"sha384\"\n",
        );
        assert_eq!(manual.template, TemplateChoice::Fixed(DeviceKeyTemplate::from_name("H-3").unwrap()));
        let persistent = read("iak_handle = \"0x81000001\"\niak_cert = \"\"\niak_idevid_template = \"detect\"\n");
        assert_eq!((persistent.iak.handle, persistent.iak.certificate), (Some(0x8100_0001), None));
        assert_eq!(persistent.template, TemplateChoice::Detect(DeviceKeyTemplate::h1()));
        for wrong in ["iak_idevid_template = \"H-9\"", "iak_handle = \"x\"", "iak_idevid_name_alg = \"md5\""] {
            assert!(settings(&format!("enable_iak_idevid = true\n{wrong}\n")).is_err(), "{wrong}");
        }
    }
}
