//! CVE-2023-38200: clients that open connections and stall must not be in anybody's way.

mod support;

use keylime_gateway::routes::verifier_routes;
use keylime_gateway::server::HalfOpenLimits;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::backends::{ScriptedVerifier, verifier_state};
use support::certificates::Client;
use support::client;
use support::running::{Bounds, TestServer};

fn server(bounds: Bounds) -> TestServer {
    TestServer::start(verifier_routes(), verifier_state(Arc::new(ScriptedVerifier::default())), bounds)
}

fn answers_quickly(server: &TestServer) {
    let start = Instant::now();
    assert_eq!(server.ask(Client::Admin, "GET", "/v2.6/agents/", &[], "").status, 200);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn cve_2023_38200_stalled_handshakes_block_nobody() {
    let server = server(Bounds::default());
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(server.https).unwrap()).collect();
    let talking: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(server.https).unwrap();
            // The beginning of a ClientHello.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
            stream
        })
        .collect();
    for _ in 0..5 {
        answers_quickly(&server);
    }
    drop((silent, talking));
}

#[test]
fn cve_2023_38200_too_many_stalled_handshakes_displace_each_other() {
    let mut bounds = Bounds::default();
    bounds.connections.half_open = HalfOpenLimits { per_address: 4, total: 8 };
    let server = server(bounds);
    let stalled: Vec<_> = (0..20).map(|_| TcpStream::connect(server.https).unwrap()).collect();
    for stream in &stalled {
        stream.set_nonblocking(true).unwrap();
    }
    // All but the four newest are closed by the server, long before their deadline.
    let start = Instant::now();
    while stalled.iter().filter(|stream| is_closed(stream)).count() < 16 {
        assert!(start.elapsed() < Duration::from_secs(5), "stalled handshakes are not displaced");
        std::thread::sleep(Duration::from_millis(20));
    }
    answers_quickly(&server);
}

fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0u8; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn a_handshake_has_a_deadline() {
    let mut bounds = Bounds::default();
    bounds.connections.handshake_deadline = Duration::from_millis(300);
    let server = server(bounds);
    let mut stalled = TcpStream::connect(server.https).unwrap();
    stalled.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(stalled.read(&mut [0u8; 1]), Ok(0)));
}

#[test]
fn a_request_head_has_a_deadline() {
    let mut bounds = Bounds::default();
    bounds.connections.head_deadline = Duration::from_millis(500);
    let server = server(bounds);
    let mut wire = client::secure(server.https, None).unwrap();
    wire.write_all(b"GET /version HTTP/1.1\r\nHost: h\r\nX-Slow: ").unwrap();
    let start = Instant::now();
    let answer = client::read_answer(&mut wire);
    assert!(answer.is_err() || answer.unwrap().status == 408);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn clients_that_send_a_byte_at_a_time_are_cut_off_and_block_nobody() {
    let mut bounds = Bounds::default();
    bounds.requests.body_deadline = Duration::from_millis(800);
    let server = server(bounds);
    let head = "POST /v2.6/verify/evidence HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n\r\n";
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut wire = client::secure(server.https, None).unwrap();
                wire.write_all(head.as_bytes()).unwrap();
                // No byte is late, but all of them together are.
                while wire.write_all(b"1").and_then(|()| wire.flush()).is_ok() {
                    assert!(start.elapsed() < Duration::from_secs(10), "nobody cuts the connection");
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        for _ in 0..5 {
            answers_quickly(&server);
        }
    });
}

#[test]
fn garbage_instead_of_a_handshake_or_a_request_is_survived() {
    let server = server(Bounds::default());
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let too_many_headers = format!("GET /version HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000)).into_bytes();
    let too_long_a_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)).into_bytes();
    for (address, bytes) in [
        (server.https, http),
        (server.https, vec![0xff; 4096]),
        (server.http, vec![0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]),
        (server.http, b"\0\0\0\0\r\n\r\n".to_vec()),
        (server.http, too_many_headers),
        (server.http, too_long_a_line),
        (server.http, b"GET /version HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec()),
        (
            server.http,
            b"GET /version HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ),
    ] {
        let mut stream = client::plain(address);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&rest));
    }
    answers_quickly(&server);
}
