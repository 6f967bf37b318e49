//! Real TLS handshakes between the configurations of this crate, over an in-memory connection.

use std::sync::Arc;

use keylime_pki::authority::{Authority, Issued, Purpose, Subject};
use keylime_pki::private_key;
use keylime_pki::tls::{self, Identity, ServerTrust, TlsError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Fixture {
    _directory: tempfile::TempDir,
    authority: Authority,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::init(directory.path(), &Subject::default(), "pw").unwrap();
        Self { _directory: directory, authority }
    }

    fn issue(&mut self, name: &str, purpose: Option<Purpose>) -> Identity {
        identity(&self.authority.issue_for(name, &[], &[], None, purpose).unwrap())
    }

    fn ca(&self) -> Vec<CertificateDer<'static>> {
        vec![self.authority.certificate().clone()]
    }

    fn trust(&self) -> ServerTrust {
        ServerTrust::Authorities(self.ca())
    }

    fn crl(&self) -> Vec<u8> {
        tls::load_crl(&self.authority.directory().join("cacrl.pem")).unwrap()
    }
}

fn identity(issued: &Issued) -> Identity {
    Identity {
        certs: vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()],
        key: private_key::read_pem(issued.private_key_pem.as_bytes(), None).unwrap(),
    }
}

fn self_signed(is_ca: IsCa) -> Identity {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(["agent".to_owned()]).unwrap();
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).unwrap();
    Identity { certs: vec![certificate.der().clone()], key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
}

/// What each side thinks after a handshake and one byte in each direction.
struct Outcome {
    server: Result<Option<String>, std::io::Error>,
    client: Result<(), std::io::Error>,
}

impl Outcome {
    fn is_success(&self) -> bool {
        self.server.is_ok() && self.client.is_ok()
    }

    /// The alert the client received.
    fn alert(&self) -> Option<AlertDescription> {
        match tls_error(self.client.as_ref().err()?)? {
            Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        }
    }
}

fn tls_error(error: &std::io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

async fn connect(server: ServerConfig, client: ClientConfig) -> Outcome {
    let (near, far) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(near).await?;
        let peer = stream.get_ref().1.peer_certificates().and_then(|chain| tls::common_name(chain.first()?));
        stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.shutdown().await?;
        Ok(peer)
    });
    let client = async move {
        let name = ServerName::try_from("not.the.name.in.the.certificate").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, far).await?;
        stream.write_u8(1).await?;
        stream.read_u8().await.map(|_| ())
    }
    .await;
    Outcome { server: serving.await.unwrap(), client }
}

#[tokio::test]
async fn a_client_of_the_authority_is_known_by_name_and_host_names_do_not_matter() {
    let mut pki = Fixture::new();
    let (server, client) = (pki.issue("server", None), pki.issue("client", None));
    let server = tls::optional_client_auth(server, pki.ca(), vec![pki.crl()]).unwrap();
    let outcome = connect(server, tls::client(Some(client), pki.trust()).unwrap()).await;
    assert_eq!(outcome.server.unwrap().as_deref(), Some("client"));
    outcome.client.unwrap();
}

#[tokio::test]
async fn a_client_without_certificate_is_admitted_only_where_it_is_optional() {
    let mut pki = Fixture::new();
    let server = pki.issue("server", None);
    let optional = tls::optional_client_auth(server.clone(), pki.ca(), Vec::new()).unwrap();
    let outcome = connect(optional, tls::client(None, pki.trust()).unwrap()).await;
    assert_eq!(outcome.server.unwrap(), None);

    let required = tls::required_client_auth(server.clone(), pki.ca()).unwrap();
    let outcome = connect(required, tls::client(None, pki.trust()).unwrap()).await;
    assert!(!outcome.is_success());

    let none = tls::no_client_auth(server).unwrap();
    assert!(connect(none, tls::client(None, pki.trust()).unwrap()).await.is_success());
}

#[tokio::test]
async fn foreign_client_certificates_get_the_alert_unknown_ca() {
    let mut pki = Fixture::new();
    let server = pki.issue("server", None);
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    for stranger in [self_signed(authority), self_signed(IsCa::NoCa), Fixture::new().issue("client", None)] {
        let config = tls::optional_client_auth(server.clone(), pki.ca(), Vec::new()).unwrap();
        let outcome = connect(config, tls::client(Some(stranger), pki.trust()).unwrap()).await;
        assert!(outcome.server.is_err());
        assert_eq!(outcome.alert(), Some(AlertDescription::UnknownCA));
    }
}

#[tokio::test]
async fn revoked_client_certificates_are_refused() {
    let mut pki = Fixture::new();
    let (server, revoked, kept) = (pki.issue("server", None), pki.issue("gone", None), pki.issue("kept", None));
    pki.authority.revoke("gone").unwrap();
    for (client, alert) in [(revoked, Some(AlertDescription::CertificateRevoked)), (kept, None)] {
        let config = tls::optional_client_auth(server.clone(), pki.ca(), vec![pki.crl()]).unwrap();
        let outcome = connect(config, tls::client(Some(client), pki.trust()).unwrap()).await;
        assert_eq!(outcome.alert(), alert);
        assert_eq!(outcome.is_success(), alert.is_none());
    }
}

#[tokio::test]
async fn certificates_restricted_to_the_other_side_are_refused() {
    let mut pki = Fixture::new();
    let plain = pki.issue("server", None);
    for (purpose, accepted) in [(Purpose::Client, true), (Purpose::ServerAndClient, true), (Purpose::Server, false)] {
        let client = pki.issue("client", Some(purpose));
        let config = tls::required_client_auth(plain.clone(), pki.ca()).unwrap();
        let outcome = connect(config, tls::client(Some(client), pki.trust()).unwrap()).await;
        assert_eq!(outcome.is_success(), accepted, "{purpose:?}");
    }
    for (purpose, accepted) in [(Purpose::Server, true), (Purpose::Client, false)] {
        let server = pki.issue("server", Some(purpose));
        let config = tls::optional_client_auth(server, pki.ca(), Vec::new()).unwrap();
        let outcome = connect(config, tls::client(None, pki.trust()).unwrap()).await;
        assert_eq!(outcome.is_success(), accepted, "{purpose:?}");
    }
}

#[tokio::test]
async fn an_agents_certificate_is_trusted_by_its_bytes_only() {
    let mut pki = Fixture::new();
    let client = pki.issue("client", None);
    let (agent, other) = (self_signed(IsCa::NoCa), self_signed(IsCa::NoCa));
    let exact = agent.certs[0].clone();
    let from_authority = pki.issue("agent", None);
    for (server, authorities, accepted) in [
        (agent.clone(), Vec::new(), true),
        (agent, pki.ca(), true),
        (other.clone(), pki.ca(), false),
        (other, Vec::new(), false),
        (from_authority, pki.ca(), true),
    ] {
        let config = tls::required_client_auth(server, pki.ca()).unwrap();
        let trust = ServerTrust::AuthoritiesOrExact { authorities, exact: exact.clone() };
        let outcome = connect(config, tls::client(Some(client.clone()), trust).unwrap()).await;
        assert_eq!(outcome.is_success(), accepted);
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_unless_all_are_trusted() {
    let pki = Fixture::new();
    let foreign = Fixture::new().issue("server", None);
    let server = || tls::optional_client_auth(foreign.clone(), pki.ca(), Vec::new()).unwrap();
    let refused = connect(server(), tls::client(None, pki.trust()).unwrap()).await;
    assert!(!refused.is_success());
    assert!(connect(server(), tls::client(None, ServerTrust::All).unwrap()).await.is_success());
}

#[tokio::test]
async fn host_names_are_compared_where_the_rule_says_so() {
    let mut pki = Fixture::new();
    // The name every test asks for.
    let asked = "not.the.name.in.the.certificate".to_owned();
    let named = identity(&pki.authority.issue_for("server", &[asked], &[], None, None).unwrap());
    let unnamed = pki.issue("server2", None);
    for (server, accepted) in [(named, true), (unnamed, false)] {
        let server = tls::no_client_auth(server).unwrap();
        let trust = ServerTrust::AuthoritiesAndName(pki.ca());
        let outcome = connect(server, tls::client(None, trust).unwrap()).await;
        assert_eq!(outcome.is_success(), accepted);
    }
    let foreign = Fixture::new().issue("not.the.name.in.the.certificate", None);
    let trust = ServerTrust::AuthoritiesAndName(pki.ca());
    let outcome = connect(tls::no_client_auth(foreign).unwrap(), tls::client(None, trust).unwrap()).await;
    assert!(!outcome.is_success());
}

#[test]
fn unusable_configurations_are_refused() {
    let mut pki = Fixture::new();
    let mut server = pki.issue("server", None);
    let none = tls::optional_client_auth(server.clone(), Vec::new(), Vec::new());
    assert!(matches!(none, Err(TlsError::NoAuthority)));
    let foreign_list = tls::optional_client_auth(server.clone(), pki.ca(), vec![Fixture::new().crl()]);
    assert!(matches!(foreign_list, Err(TlsError::RevocationList)));
    let garbage = tls::optional_client_auth(server.clone(), pki.ca(), vec![b"garbage".to_vec()]);
    assert!(matches!(garbage, Err(TlsError::RevocationList)));
    server.key = pki.issue("other", None).key;
    assert!(matches!(tls::required_client_auth(server, pki.ca()), Err(TlsError::Identity(_))));
}
