//! `registrar.conf`.

use super::{KEY_PASSWORD, START_LIMIT, Server, ask, option, settings};
use keylime_bench::fleet::agent_number::AgentNumber;
use keylime_bench::fleet::fleet_keys::FleetKeys;
use keylime_bench::fleet::options::AttestationKeyKind;
use keylime_bench::fleet::registration::{Applicant, register_all};
use keylime_bench::fleet::rest_client::Target;
use keylime_bench::soft_tpm::Manufacturer;
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use keylime_pki::tls;
use reqwest::Method;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

const REGISTRAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[tokio::test(flavor = "multi_thread")]
async fn where_the_registrar_listens_and_whom_it_takes() {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.registrar = vec![
        option("ip", REGISTRAR_ADDRESS),
        option("tls_dir", "generate"),
        option("server_key_password", KEY_PASSWORD),
        option("cert_subject_alternative_names", "registrar.example.org, 192.0.2.77"),
        option("trusted_client_ca", "default"),
        option("database_url", format!("sqlite:///{}", dir.path().join("elsewhere.sqlite").display())),
        option("tpm_identity", "iak_idevid"),
        option("max_upload_size", "3000"),
    ];
    // The certificates that the registrar trusts by default are the verifier's.
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    let mut authority = Authority::init(&dir.path().join("cv_ca"), &subject, "password").unwrap();
    authority.issue("client", &[], &[], None).unwrap();
    let address = SocketAddr::from((REGISTRAR_ADDRESS, settings.registrar_tls_port));
    let plain = SocketAddr::from((REGISTRAR_ADDRESS, settings.registrar_port));
    let mut server = Server::start("keylime_registrar", dir, settings, address);

    for port in [address.port(), plain.port()] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "ip");
    }
    assert!(server.file("elsewhere.sqlite").is_file(), "database_url");
    let key = fs::read_to_string(server.file("reg_ca/server-private.pem")).unwrap();
    assert!(key.contains("ENCRYPTED PRIVATE KEY"), "server_key_password");
    let certificate = &tls::load_certificates(&server.file("reg_ca/server-cert.crt")).unwrap()[0];
    let names = |text: &[u8]| certificate.windows(text.len()).any(|window| window == text);
    assert!(names(b"registrar.example.org") && names(&[192, 0, 2, 77]), "cert_subject_alternative_names");
    let admin = server.https(address, "reg_ca", Some(("cv_ca/client", None)));
    assert_eq!(ask(&admin, Method::GET, "/v2.5/agents/", "").await.status, 200, "trusted_client_ca");

    let keys = FleetKeys::generate(AttestationKeyKind::P256).unwrap();
    let maker = Manufacturer::found("options").unwrap();
    let applicant = || vec![Applicant::new(AgentNumber(0), &keys, &maker).unwrap()];
    let registrar = Target { address: plain, tls: None };
    let refused = register_all(&registrar, applicant(), 1).await.unwrap_err().to_string();
    assert!(refused.contains("400") || refused.contains("403"), "tpm_identity: {refused}");
    let listed = ask(&admin, Method::GET, "/v2.5/agents/", "").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&AgentNumber(0).to_string()), "tpm_identity");
    assert_eq!(tokio::task::block_in_place(|| server.process.terminate(START_LIMIT)).unwrap(), Some(0));

    // With the default it is taken, after a restart with the same database and certificates.
    server.settings.registrar.retain(|(name, _)| name != "tpm_identity");
    let Server { settings, dir, .. } = server;
    let server = Server::start("keylime_registrar", dir, settings, address);
    register_all(&registrar, applicant(), 1).await.unwrap();
    let admin = server.https(address, "reg_ca", Some(("cv_ca/client", None)));
    let listed = ask(&admin, Method::GET, "/v2.5/agents/", "").await;
    assert!(String::from_utf8_lossy(&listed.body).contains(&AgentNumber(0).to_string()));
}
