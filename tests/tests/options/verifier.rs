//! `verifier.conf`: where it listens, who may come, what it keeps.

use super::{KEY_PASSWORD, SLACK, START_LIMIT, Server, ask, command, enrolment, option, sample_key, settings};
use bytes::Bytes;
use keylime_bench::fleet::rest_client::{RestClient, Target};
use keylime_harness::{configuration, ports};
use keylime_pki::authority::{Authority, KeyAlgorithm, Subject};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const VERIFIER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test(flavor = "multi_thread")]
async fn where_the_verifier_listens_and_what_it_shows_and_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let subject = Subject { algorithm: KeyAlgorithm::EcdsaP256, ..Subject::default() };
    let mut authority = Authority::init(&dir.path().join("own"), &subject, "password").unwrap();
    authority.issue("front", &[], &[IpAddr::V4(VERIFIER_ADDRESS)], Some(KEY_PASSWORD)).unwrap();
    authority.issue("to-agents", &[], &[], Some(KEY_PASSWORD)).unwrap();
    let mut other = Authority::init(&dir.path().join("administrators"), &subject, "password").unwrap();
    other.issue("admin", &[], &[], None).unwrap();
    let (metrics, mut settings) = (ports::free(), settings());
    let database = dir.path().join("elsewhere.sqlite");
    settings.verifier = vec![
        option("ip", VERIFIER_ADDRESS),
        option("uuid", "second"),
        option("tls_dir", "own"),
        option("server_cert", "front-cert.crt"),
        option("server_key", "front-private.pem"),
        option("server_key_password", KEY_PASSWORD),
        option("client_cert", "to-agents-cert.crt"),
        option("client_key", "to-agents-private.pem"),
        option("client_key_password", KEY_PASSWORD),
        option("trusted_server_ca", "['cacert.crt']"),
        option("trusted_client_ca", format!("['{}']", dir.path().join("administrators/cacert.crt").display())),
        option("authorization_provider", "ldap"),
        option("database_url", format!("sqlite:///{}", database.display())),
        option("max_upload_size", "3000"),
        option("metrics_listen", format!("127.0.0.1:{metrics}")),
        option("shutdown_drain_timeout", "1"),
    ];
    let address = SocketAddr::from((VERIFIER_ADDRESS, settings.verifier_port));
    let mut server = Server::start("keylime_verifier", dir, settings, address);

    assert!(TcpStream::connect(("127.0.0.1", address.port())).is_err(), "ip");
    assert!(database.is_file() && !server.file("cv_data.sqlite").exists(), "database_url");
    assert!(!server.file("cv_ca").exists(), "tls_dir");
    assert!(server.process.output().contains("Unknown authorization_provider 'ldap'"), "authorization_provider");
    let ready = Target { address: SocketAddr::from(([127, 0, 0, 1], metrics)), tls: None };
    server.process.wait_until(START_LIMIT, || TcpStream::connect(ready.address).is_ok()).unwrap();
    assert_eq!(ask(&ready, Method::GET, "/readyz", "").await.status, 200, "metrics_listen");

    // The handshake succeeds with the named certificate only: its authority and its address are checked.
    let admin = server.https(address, "own", Some(("administrators/admin", None)));
    assert_eq!(ask(&admin, Method::GET, "/v2.5/agents/", "").await.status, 200, "trusted_client_ca");
    let stranger = server.https(address, "own", Some(("own/to-agents", Some(KEY_PASSWORD))));
    let refused = RestClient::new(stranger).exchange(Method::GET, "/v2.5/agents/", None, Bytes::new()).await;
    assert!(refused.is_err() || refused.unwrap().status == 403, "trusted_client_ca");
    let policy = |size: usize| json!({ "mb_policy": "x".repeat(size) }).to_string();
    let (long, short) = (policy(4000), policy(2000));
    assert_eq!(ask(&admin, Method::POST, "/v2.5/mbpolicies/a", long).await.status, 400, "max_upload_size");
    assert_eq!(ask(&admin, Method::POST, "/v2.5/mbpolicies/b", short).await.status, 201, "max_upload_size");

    let mut request = enrolment(9, &sample_key());
    request["mtls_cert"] = fs::read_to_string(server.file("own/front-cert.crt")).unwrap().into();
    let enrolled = ask(&admin, Method::POST, "/v2.5/agents/one", request.to_string()).await;
    assert_eq!(enrolled.status, 200, "{}", String::from_utf8_lossy(&enrolled.body));
    let record = ask(&admin, Method::GET, "/v2.5/agents/one", "").await;
    let record: Value = serde_json::from_slice(&record.body).unwrap();
    assert_eq!(record["results"]["verifier_id"], "second", "uuid");

    // A request that never ends is given up after the drain timeout, not after the default of ten seconds.
    let config = admin.tls.clone().unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::IpAddress(IpAddr::V4(VERIFIER_ADDRESS).into());
    let mut stream = config.connect(name, stream).await.unwrap();
    let head = "POST /v2.5/mbpolicies/c HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopping = Instant::now();
    let code = tokio::task::block_in_place(|| server.process.terminate(START_LIMIT)).unwrap();
    let took = stopping.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(1) + SLACK, "shutdown_drain: {took:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn without_leave_to_change_it_an_empty_database_stays_empty() {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.verifier = vec![option("auto_migrate_db", "False")];
    configuration::write(dir.path(), &settings).unwrap();
    let ended = keylime_harness::child::run(&mut command(dir.path(), "keylime_verifier"), START_LIMIT).unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("auto_migrate_db"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_policies_are_refused_where_signatures_are_required() {
    let (dir, mut settings) = (tempfile::tempdir().unwrap(), settings());
    settings.verifier = vec![option("require_allow_list_signatures", "True")];
    let address = SocketAddr::from(([127, 0, 0, 1], settings.verifier_port));
    let server = Server::start("keylime_verifier", dir, settings, address);
    let admin = server.https(address, "cv_ca", Some(("cv_ca/client", None)));
    let policy = keylime_harness::ima_log::policy(&[]).to_string();
    let body = json!({ "runtime_policy": base64_of(policy.as_bytes()), "tpm_policy": "{}" }).to_string();
    let answer = ask(&admin, Method::POST, "/v2.5/allowlists/unsigned", body).await;
    assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&answer.body));
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
