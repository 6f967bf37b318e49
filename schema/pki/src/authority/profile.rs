//! The certificate profiles of Keylime's authority, extension by extension.
//!
//! Leaf certificates carry no key usage, no basic constraints and, unless asked for, no extended key usage: the same
//! certificate serves a server and its client side.

use std::net::IpAddr;

use aws_lc_rs::digest;
use rcgen::{
    Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode as _, Encode};
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};

use super::AuthorityError;
use super::subject::{KeyAlgorithm, Subject};

const NETSCAPE_COMMENT: &[u64] = &[2, 16, 840, 1, 113_730, 1, 13];
/// The comment's raw extension value. Keylime does not wrap it in the string type the extension asks for, and readers
/// that compare certificates by profile expect these bytes.
const COMMENT: &[u8] = b"SSL Server";
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// TLS servers only.
    Server,
    /// TLS clients only.
    Client,
    /// Both sides.
    ServerAndClient,
}

/// One certificate to issue.
pub(super) struct Leaf<'a> {
    pub(super) name: &'a str,
    pub(super) serial: u64,
    pub(super) san_dns: &'a [String],
    pub(super) san_ip: &'a [IpAddr],
    pub(super) purpose: Option<Purpose>,
}

/// Generates a key: RSA keys sign with PKCS#1 v1.5 and SHA-256, the others with the hash of their curve's size.
pub(super) fn generate_key(algorithm: KeyAlgorithm, bits: u32) -> Result<KeyPair, AuthorityError> {
    match algorithm {
        KeyAlgorithm::Rsa => {}
        KeyAlgorithm::EcdsaP256 => return KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto),
        KeyAlgorithm::EcdsaP384 => return KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(crypto),
    }
    let size = match bits {
        2048 => RsaKeySize::_2048,
        3072 => RsaKeySize::_3072,
        4096 => RsaKeySize::_4096,
        other => return Err(AuthorityError::KeySize(other)),
    };
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).map_err(crypto)
}

/// Issues the authority's own certificate.
pub(super) fn certify_authority(
    subject: &Subject,
    key: &KeyPair,
    now: OffsetDateTime,
) -> Result<Certificate, AuthorityError> {
    let key_identifier = key_identifier(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(subject, &subject.ca_name)?;
    params.serial_number = Some(SerialNumber::from(1));
    set_validity(&mut params, now, subject.ca_lifetime_days)?;
    params.custom_extensions = vec![
        critical(extension(&BasicConstraints { ca: true, path_len_constraint: None })?),
        extension(&SubjectKeyIdentifier(key_identifier.clone()))?,
        distribution_point(&subject.crl_url)?,
        critical(extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?),
        authority_key_identifier(key_identifier)?,
    ];
    params.self_signed(key).map_err(crypto)
}

/// Issues a leaf certificate.
pub(super) fn certify(
    leaf: &Leaf<'_>,
    subject: &Subject,
    key: &KeyPair,
    authority: &CertificateDer<'_>,
    signing_key: KeyPair,
    now: OffsetDateTime,
) -> Result<Certificate, AuthorityError> {
    check_issuer_name(authority)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(subject, leaf.name)?;
    params.serial_number = Some(SerialNumber::from(leaf.serial));
    set_validity(&mut params, now, subject.lifetime_days)?;
    params.custom_extensions = vec![
        CustomExtension::from_oid_content(NETSCAPE_COMMENT, COMMENT.to_vec()),
        extension(&SubjectAltName(alternative_names(leaf)?))?,
        distribution_point(&subject.crl_url)?,
        authority_key_identifier(key_identifier(&signing_key)?)?,
    ];
    if let Some(purpose) = leaf.purpose {
        let usages = match purpose {
            Purpose::Server => vec![SERVER_AUTH],
            Purpose::Client => vec![CLIENT_AUTH],
            Purpose::ServerAndClient => vec![SERVER_AUTH, CLIENT_AUTH],
        };
        params.custom_extensions.push(extension(&ExtendedKeyUsage(usages))?);
    }
    let issuer = Issuer::from_ca_cert_der(authority, signing_key).map_err(crypto)?;
    params.signed_by(key, &issuer).map_err(crypto)
}

/// Refuses authority names the certificate writer cannot repeat: several attributes, or none, in one component.
fn check_issuer_name(authority: &CertificateDer<'_>) -> Result<(), AuthorityError> {
    let malformed = || AuthorityError::Encoding("the name of the authority");
    let certificate = x509_cert::Certificate::from_der(authority).map_err(|_| malformed())?;
    let single = certificate.tbs_certificate().subject().iter_rdn().all(|component| component.len() == 1);
    single.then_some(()).ok_or_else(malformed)
}

fn set_validity(params: &mut CertificateParams, now: OffsetDateTime, days: u32) -> Result<(), AuthorityError> {
    params.not_before = now;
    params.not_after = now.checked_add(Duration::days(days.into())).ok_or(AuthorityError::Encoding("lifetime"))?;
    Ok(())
}

/// Country, name, state, locality, organisation and unit, in Keylime's order; empty options are left out.
fn distinguished_name(subject: &Subject, common_name: &str) -> Result<DistinguishedName, AuthorityError> {
    let mut name = DistinguishedName::new();
    if !subject.country.is_empty() {
        let country = subject.country.as_str().try_into().map_err(|_| AuthorityError::Encoding("country"))?;
        name.push(DnType::CountryName, DnValue::PrintableString(country));
    }
    let rest = [
        (DnType::CommonName, common_name),
        (DnType::StateOrProvinceName, &subject.state),
        (DnType::LocalityName, &subject.locality),
        (DnType::OrganizationName, &subject.organization),
        (DnType::OrganizationalUnitName, &subject.org_unit),
    ];
    for (kind, value) in rest.into_iter().filter(|(_, value)| !value.is_empty()) {
        name.push(kind, DnValue::Utf8String(value.to_owned()));
    }
    Ok(name)
}

/// DNS names, then addresses; the certificate's name if there are none.
fn alternative_names(leaf: &Leaf<'_>) -> Result<Vec<GeneralName>, AuthorityError> {
    let dns = |name: &str| {
        Ia5String::new(name).map(GeneralName::DnsName).map_err(|_| AuthorityError::Encoding("alternative name"))
    };
    let mut names = leaf.san_dns.iter().map(|name| dns(name)).collect::<Result<Vec<_>, _>>()?;
    for address in leaf.san_ip {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        names.push(GeneralName::IpAddress(octet_string(octets)?));
    }
    if names.is_empty() {
        names.push(dns(leaf.name)?);
    }
    Ok(names)
}

fn distribution_point(url: &str) -> Result<CustomExtension, AuthorityError> {
    let uri = Ia5String::new(url).map_err(|_| AuthorityError::Encoding("revocation list address"))?;
    extension(&CrlDistributionPoints(vec![DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![GeneralName::UniformResourceIdentifier(uri)])),
        reasons: None,
        crl_issuer: None,
    }]))
}

fn authority_key_identifier(key_identifier: OctetString) -> Result<CustomExtension, AuthorityError> {
    extension(&AuthorityKeyIdentifier { key_identifier: Some(key_identifier), ..Default::default() })
}

/// SHA-1 over the public key's bit string: a name for the key (RFC 5280, 4.2.1.2), not a protection.
fn key_identifier(key: &KeyPair) -> Result<OctetString, AuthorityError> {
    octet_string(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes()).as_ref().to_vec())
}

fn octet_string(bytes: Vec<u8>) -> Result<OctetString, AuthorityError> {
    OctetString::new(bytes).map_err(|_| AuthorityError::Encoding("octet string"))
}

fn extension<E: Encode + AssociatedOid>(content: &E) -> Result<CustomExtension, AuthorityError> {
    let oid: Vec<u64> = E::OID.arcs().map(u64::from).collect();
    let content = content.to_der().map_err(|_| AuthorityError::Encoding("extension"))?;
    Ok(CustomExtension::from_oid_content(&oid, content))
}

fn critical(mut extension: CustomExtension) -> CustomExtension {
    extension.set_criticality(true);
    extension
}

fn crypto(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Crypto(error.to_string())
}
