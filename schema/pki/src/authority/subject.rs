//! What an authority writes into its certificates: the options of `ca.conf`.

use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::AttributeTypeAndValue;

/// The kind of new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// RSA, the reference's only kind.
    #[default]
    Rsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
}

impl KeyAlgorithm {
    /// The kind that the option `cert_key_algorithm` names; it is not one of the reference's options.
    #[must_use]
    pub fn from_option(value: &str) -> Option<Self> {
        match value {
            "rsa" | "" => Some(Self::Rsa),
            "ecdsa" | "ecdsa-p256" => Some(Self::EcdsaP256),
            "ecdsa-p384" => Some(Self::EcdsaP384),
            _ => None,
        }
    }
}

/// Names, lifetimes and key size of new certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Two-letter country code.
    pub country: String,
    /// State or province.
    pub state: String,
    /// City.
    pub locality: String,
    /// Organisation.
    pub organization: String,
    /// Unit of the organisation.
    pub org_unit: String,
    /// Common name of the authority.
    pub ca_name: String,
    /// Days the authority's certificate is valid.
    pub ca_lifetime_days: u32,
    /// Days other certificates are valid.
    pub lifetime_days: u32,
    /// Kind of keys.
    pub algorithm: KeyAlgorithm,
    /// Size of RSA keys in bits.
    pub bits: u32,
    /// Address of the revocation list that certificates name.
    pub crl_url: String,
}

impl Subject {
    /// Days a certificate is valid unless configured.
    pub const DEFAULT_LIFETIME_DAYS: u32 = 365;

    /// Derives the values from the certificate of an authority; `None` if it cannot be read.
    pub(super) fn of_authority(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject();
        let validity = certificate.validity();
        let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
        Some(Self {
            country: text(name.iter_country().next()),
            state: text(name.iter_state_or_province().next()),
            locality: text(name.iter_locality().next()),
            organization: text(name.iter_organization().next()),
            org_unit: text(name.iter_organizational_unit().next()),
            ca_name: text(name.iter_common_name().next()),
            ca_lifetime_days: u32::try_from(days).ok()?,
            lifetime_days: Self::DEFAULT_LIFETIME_DAYS,
            algorithm: algorithm(&certificate),
            bits: rsa_bits(&certificate),
            crl_url: distribution_point(&certificate).unwrap_or_default(),
        })
    }
}

impl Default for Subject {
    /// The values of Keylime's `ca.conf`.
    fn default() -> Self {
        Self {
            country: "US".to_owned(),
            state: "MA".to_owned(),
            locality: "Lexington".to_owned(),
            organization: "Keylime".to_owned(),
            org_unit: "53".to_owned(),
            ca_name: "Keylime Certificate Authority".to_owned(),
            ca_lifetime_days: 3650,
            lifetime_days: Self::DEFAULT_LIFETIME_DAYS,
            algorithm: KeyAlgorithm::Rsa,
            bits: 2048,
            crl_url: "http://localhost:38080/crl".to_owned(),
        }
    }
}

fn text(attribute: Option<&AttributeTypeAndValue<'_>>) -> String {
    attribute.and_then(|attribute| attribute.as_str().ok()).unwrap_or_default().to_owned()
}

/// Key size of the authority if its key is RSA, else the default size.
fn rsa_bits(certificate: &X509Certificate<'_>) -> u32 {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => u32::try_from(key.key_size()).unwrap_or(2048).next_multiple_of(8),
        _ => 2048,
    }
}

/// The kind of the authority's own key; new keys are of the same kind unless configured.
fn algorithm(certificate: &X509Certificate<'_>) -> KeyAlgorithm {
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(point)) if point.key_size() > 256 => KeyAlgorithm::EcdsaP384,
        Ok(PublicKey::EC(_)) => KeyAlgorithm::EcdsaP256,
        _ => KeyAlgorithm::Rsa,
    }
}

fn distribution_point(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else { return None };
        points.iter().find_map(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => names.iter().find_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            }),
            _ => None,
        })
    })
}
