//! `keylime_ca` of either implementation continues a directory of the other: the same files, the same key store.

use keylime_harness::{binaries, peer, ports};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

const PASSWORD: &str = "correct horse";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Ours,
    Theirs,
}

fn command(side: Side, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(match side {
        Side::Ours => binaries::path("keylime_ca"),
        Side::Theirs => peer::program("keylime_ca"),
    });
    command.arg("-d").arg(directory).args(arguments).env("KEYLIME_DIR", directory).env("KEYLIME_CA_PASSWORD", PASSWORD);
    // The reference reads its override only beside a file.
    command.env("KEYLIME_CA_CONFIG", directory.parent().unwrap().join("ca.conf"));
    command
}

fn ca(side: Side, directory: &Path, arguments: &[&str]) -> Output {
    let output = command(side, directory, arguments).output().unwrap();
    assert!(output.status.success(), "{side:?} {arguments:?}: {output:?}");
    output
}

fn certificate(path: &Path) -> Vec<u8> {
    let pem = std::fs::read(path).unwrap();
    x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents
}

fn revoked(path: &Path) -> Vec<String> {
    let der = std::fs::read(path).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
    let mut serials: Vec<String> = list.iter_revoked_certificates().map(|entry| entry.serial().to_string()).collect();
    serials.sort();
    serials
}

#[test]
fn each_side_continues_the_authority_of_the_other() {
    for (first, second) in [(Side::Ours, Side::Theirs), (Side::Theirs, Side::Ours)] {
        let parent = tempfile::tempdir().unwrap();
        // The reference needs every option in the file.
        let written = Command::new(binaries::path("keylime_upgrade_config"))
            .args(["--defaults", "--component", "ca", "--out"])
            .arg(parent.path())
            .status();
        assert!(written.unwrap().success());
        let directory = parent.path().join("ca");
        std::fs::create_dir(&directory).unwrap();
        ca(first, &directory, &["-c", "init"]);
        ca(first, &directory, &["-c", "create", "-n", "one"]);
        ca(second, &directory, &["-c", "create", "-n", "two"]);
        ca(second, &directory, &["-c", "pkg", "-n", "one"]);
        ca(second, &directory, &["-c", "revoke", "-n", "one"]);
        ca(first, &directory, &["-c", "revoke", "-n", "two"]);
        ca(first, &directory, &["-c", "create", "-n", "three"]);
        ca(second, &directory, &["-c", "pkg", "-n", "three"]);

        let authority = certificate(&directory.join("cacert.crt"));
        let (_, authority) = X509Certificate::from_der(&authority).unwrap();
        for (name, serial) in [("one", 2_u8), ("two", 3), ("three", 4)] {
            let der = certificate(&directory.join(format!("{name}-cert.crt")));
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(certificate.raw_serial(), [serial], "{first:?} then {second:?}: {name}");
            assert!(certificate.verify_signature(Some(authority.public_key())).is_ok());
        }
        assert_eq!(revoked(&directory.join("cacrl.der")), ["2", "3"], "{first:?} then {second:?}");
        let mut package = zip::ZipArchive::new(std::fs::File::open(directory.join("three-pkg.zip")).unwrap()).unwrap();
        let names: Vec<String> =
            (0..package.len()).map(|at| package.by_index(at).unwrap().name().unwrap().into_owned()).collect();
        let expected =
            ["three-public.pem", "three-cert.crt", "three-private.pem", "cacert.crt", "cacrl.der", "cacrl.pem"];
        assert_eq!(names, expected);

        // A wrong password opens it for neither.
        for side in [first, second] {
            let mut wrong = command(side, &directory, &["-c", "create", "-n", "four"]);
            let output = wrong.env("KEYLIME_CA_PASSWORD", "wrong").output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{side:?}");
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("Invalid password for keystore"), "{side:?}: {text}");
        }
    }
}

/// The sample of the documentation (2.2.6) names the command without a flag.
#[test]
fn commands_work_as_the_documentation_prints_them() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("ca.conf"), "[ca]\ncert_lifetime = 30\ncert_key_algorithm = ecdsa\n").unwrap();
    let directory = parent.path().join("ca");
    ca(Side::Ours, &directory, &["init"]);
    ca(Side::Ours, &directory, &["create", "-n", "admin1.example.com"]);
    ca(Side::Ours, &directory, &["pkg", "-n", "admin1.example.com"]);
    let package = directory.join("admin1.example.com-pkg.zip");
    assert_eq!(std::fs::metadata(package).unwrap().permissions().mode() & 0o777, 0o600);
    let der = certificate(&directory.join("admin1.example.com-cert.crt"));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let validity = certificate.validity();
    assert_eq!((validity.not_after - validity.not_before).unwrap().whole_days(), 30);
    assert!(
        certificate.public_key().parsed().is_ok_and(|key| matches!(key, x509_parser::public_key::PublicKey::EC(_)))
    );
}

#[test]
fn listen_serves_the_list_of_the_moment() {
    let parent = tempfile::tempdir().unwrap();
    let port = ports::free();
    let text = format!("[ca]\ncert_crl_dist = http://localhost:{port}/crl\n");
    std::fs::write(parent.path().join("ca.conf"), text).unwrap();
    let directory = parent.path().join("ca");
    ca(Side::Ours, &directory, &["-c", "init"]);
    ca(Side::Ours, &directory, &["-c", "create", "-n", "one"]);
    let mut server = command(Side::Ours, &directory, &["-c", "listen"]).spawn().unwrap();
    let empty = fetch(port);
    ca(Side::Ours, &directory, &["-c", "revoke", "-n", "one"]);
    let list = fetch(port);
    server.kill().unwrap();
    server.wait().unwrap();
    for (answer, count) in [(empty, 0), (list, 1)] {
        let (_, list) = CertificateRevocationList::from_der(&answer).unwrap();
        assert_eq!(list.iter_revoked_certificates().count(), count);
    }
}

fn fetch(port: u16) -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stream.write_all(b"GET /crl HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    answer.split_off(at + 4)
}
