//! Requests to agents over real sockets: trust, limits, kept connections.

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use keylime_actors::adapters::http_evidence_transport::{HttpEvidenceTransport, TransportOptions};
use keylime_actors::ports::{
    AgentCall, AgentEndpoint, AgentMethod, AgentReply, AgentTrust, EvidenceTransport, Unreachable,
};
use keylime_actors::runtime::admission::Admission;
use keylime_engine::ids::AgentId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An agent that counts what reaches it.
struct Agent {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

fn self_signed() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["agent".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let body = match request.uri().path() {
        "/large" => Bytes::from(vec![b'x'; 300_000]),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            Bytes::new()
        }
        path => Bytes::from(format!("{} {path}", request.headers()["host"].to_str().unwrap_or_default())),
    };
    Ok(Response::builder().status(if body.is_empty() { 404 } else { 200 }).body(Full::new(body)).unwrap())
}

async fn agent_with(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Agent {
    keylime_pki::install_crypto_provider();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (connected, requested) = (Arc::clone(&connections), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, connected, requested) = (acceptor.clone(), Arc::clone(&connected), Arc::clone(&requested));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                connected.fetch_add(1, Ordering::SeqCst);
                let service = service_fn(move |request| {
                    requested.fetch_add(1, Ordering::SeqCst);
                    answer(request)
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Agent { address, certificate, connections, requests }
}

async fn agent() -> Agent {
    let (certificate, key) = self_signed();
    agent_with(certificate, key).await
}

impl Agent {
    fn registered(&self) -> AgentTrust {
        digest_of(&self.certificate)
    }

    fn call(&self, path: &str, trust: AgentTrust) -> AgentCall {
        call_to("127.0.0.1", self.address.port(), path, trust)
    }
}

fn digest_of(certificate: &CertificateDer<'_>) -> AgentTrust {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    AgentTrust::Certificate(digest.as_ref().try_into().unwrap())
}

fn call_to(host: &str, port: u16, path: &str, trust: AgentTrust) -> AgentCall {
    AgentCall {
        agent_id: AgentId::parse("agent").unwrap(),
        endpoint: Arc::new(AgentEndpoint { host: host.into(), port, trust }),
        path: path.to_owned(),
        method: AgentMethod::Get,
        opening: None,
    }
}

fn transport(authorities: &[CertificateDer<'_>]) -> HttpEvidenceTransport {
    keylime_pki::install_crypto_provider();
    let options = TransportOptions {
        request_timeout: Duration::from_secs(2),
        max_response_bytes: 100_000,
        max_kept_connections: 10,
    };
    HttpEvidenceTransport::new(None, authorities, options).unwrap()
}

fn text(reply: &AgentReply) -> &str {
    match reply {
        AgentReply::Response { status: 200, body } => std::str::from_utf8(body).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let agent = agent().await;
    let transport = transport(&[]);
    for n in 0..20 {
        let reply = transport.send(agent.call(&format!("/v2.5/{n}?nonce=a"), agent.registered())).await;
        assert_eq!(text(&reply), format!("127.0.0.1:{} /v2.5/{n}", agent.address.port()));
    }
    assert_eq!(agent.connections.load(Ordering::SeqCst), 1);
    transport.forget(&AgentId::parse("agent").unwrap());
    transport.send(agent.call("/again", agent.registered())).await;
    assert_eq!(agent.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn another_certificate_gets_not_one_byte_of_a_request() {
    let agent = agent().await;
    let (other, _) = self_signed();
    let transport = transport(&[]);
    for trust in [digest_of(&other), AgentTrust::Authorities] {
        let reply = transport.send(agent.call("/quotes", trust)).await;
        assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Untrusted(_))), "{reply:?}");
    }
    assert_eq!(agent.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_as_good_as_the_registered_one() {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["some.other.host".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let agent = agent_with(leaf.der().clone(), key).await;
    let (registered, _) = self_signed();
    let authorities = [ca.der().clone()];
    let reply = transport(&authorities).send(agent.call("/a", digest_of(&registered))).await;
    assert!(matches!(reply, AgentReply::Response { status: 200, .. }), "{reply:?}");
    let reply = transport(&[registered]).send(agent.call("/a", AgentTrust::Authorities)).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Untrusted(_))), "{reply:?}");
}

#[tokio::test]
async fn responses_are_bounded_in_size_and_time() {
    let agent = agent().await;
    let transport = transport(&[]);
    let reply = transport.send(agent.call("/large", agent.registered())).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::TooLarge(100_000))), "{reply:?}");
    let reply = transport.send(agent.call("/slow", agent.registered())).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Timeout)), "{reply:?}");
    let reply = transport.send(agent.call("/fine", agent.registered())).await;
    assert!(matches!(reply, AgentReply::Response { status: 200, .. }), "{reply:?}");
}

/// Plain servers that each answer one connection with fixed bytes, after reading a request.
async fn plain_server(answers: Vec<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            // A moment for the client to read, then the connection closes although it was meant to be kept.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    port
}

#[tokio::test]
async fn a_connection_that_the_agent_closed_meanwhile_is_replaced() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_slice();
    let port = plain_server(vec![ok, ok]).await;
    let transport = transport(&[]);
    for _ in 0..2 {
        let reply = transport.send(call_to("127.0.0.1", port, "/a", AgentTrust::Plain)).await;
        assert_eq!(text(&reply), "ok");
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Nothing is left of it: tens of thousands of agents may close theirs.
        assert_eq!(transport.kept_connections(), 0);
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_broken_connection() {
    for answer in [b"\x00\x01garbage\r\n\r\n".as_slice(), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b""] {
        let port = plain_server(vec![answer]).await;
        let reply = transport(&[]).send(call_to("127.0.0.1", port, "/a", AgentTrust::Plain)).await;
        assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Broken(_))), "{reply:?}");
    }
    let port = plain_server(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"]).await;
    let reply = transport(&[]).send(call_to("127.0.0.1", port, "/a", AgentTrust::Plain)).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::TooLarge(_))), "{reply:?}");
}

#[tokio::test]
async fn an_agent_that_speaks_no_tls_or_does_not_listen_is_unreachable() {
    let port = plain_server(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n"]).await;
    let reply = transport(&[]).send(call_to("127.0.0.1", port, "/a", AgentTrust::Authorities)).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Tls(_))), "{reply:?}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let reply = transport(&[]).send(call_to("127.0.0.1", free, "/a", AgentTrust::Plain)).await;
    assert!(matches!(reply, AgentReply::Unreachable(Unreachable::Connect(_))), "{reply:?}");
    let reply = transport(&[]).send(call_to("no\nhost", 1, "/a", AgentTrust::Plain)).await;
    assert!(matches!(reply, AgentReply::Unreachable(_)), "{reply:?}");
}

#[tokio::test]
async fn ipv6_addresses_are_written_in_brackets() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        panic!("this machine has no IPv6 loopback");
    };
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        request.truncate(length);
        String::from_utf8(request).unwrap()
    });
    let reply = transport(&[]).send(call_to("::1", port, "/a", AgentTrust::Plain)).await;
    assert_eq!(text(&reply), "ok");
    assert!(server.await.unwrap().to_lowercase().contains(&format!("host: [::1]:{port}\r\n")));
}

#[tokio::test]
async fn who_says_nothing_counts_as_being_opened_for_a_second_only() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let openings = Admission::new(1);
    let mut call = call_to("127.0.0.1", port, "/version", AgentTrust::Authorities);
    call.opening = openings.try_enter();
    let silent = tokio::spawn(async move { transport(&[]).send(call).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(openings.try_enter().is_none());
    let freed = tokio::time::timeout(Duration::from_millis(1_500), openings.enter()).await;
    assert!(freed.is_ok() && !silent.is_finished(), "the request itself goes on");
    assert!(matches!(silent.await.unwrap(), AgentReply::Unreachable(Unreachable::Timeout)));
}
