//! An authority and every kind of client certificate that matters.

use keylime_pki::tls::{self, Identity};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const REVOKED_SERIAL: u64 = 4242;

/// Kinds of client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// No certificate.
    None,
    /// An administrator: of the trusted authority, without extended key usage.
    Admin,
    /// With an extended key usage that names clients.
    WithClientUsage,
    /// With an extended key usage that names servers only.
    ServerAuthOnly,
    /// Marked as an authority.
    Authority,
    /// Over.
    Expired,
    /// On the revocation list.
    Revoked,
    /// Of an authority nobody trusts.
    Foreign,
    /// Of nobody.
    SelfSigned,
    /// Of the trusted authority, without a common name.
    Nameless,
}

/// An authority.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    foreign: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Self {
        keylime_pki::install_crypto_provider();
        Self { issuer: authority("Test Authority"), foreign: authority("Other Authority") }
    }

    /// The server's TLS configuration.
    pub fn server(&self) -> ServerConfig {
        let identity = issue(&self.issuer, CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
        tls::optional_client_auth(identity, vec![self.issuer.der().clone()], vec![self.revocation_list()]).unwrap()
    }

    pub fn authority(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A client's certificate.
    pub fn client(&self, kind: Client) -> Option<Identity> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "client");
        let issuer = match kind {
            Client::Foreign => &self.foreign,
            _ => &self.issuer,
        };
        match kind {
            Client::None => return None,
            Client::Admin | Client::Foreign => {}
            Client::WithClientUsage => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Client::ServerAuthOnly => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            Client::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Client::Expired => {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
            }
            Client::Revoked => params.serial_number = Some(SerialNumber::from(REVOKED_SERIAL)),
            Client::SelfSigned => {
                let key = KeyPair::generate().unwrap();
                let certificate = params.self_signed(&key).unwrap();
                return Some(identity(certificate.der().clone(), &key));
            }
            Client::Nameless => {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::OrganizationName, "nobody");
            }
        }
        Some(issue(issuer, params))
    }

    fn revocation_list(&self) -> Vec<u8> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED_SERIAL),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 1, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(issuer: &CertifiedIssuer<'static, KeyPair>, params: CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    identity(certificate.der().clone(), &key)
}

fn identity(certificate: CertificateDer<'static>, key: &KeyPair) -> Identity {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Identity { certs: vec![certificate], key }
}
