//! `ca.conf`.

use keylime_harness::binaries;
use std::path::Path;
use std::process::{Command, Output};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

const OPTIONS: &str = "[ca]\nversion = 2.6\npassword = of the authority\ncert_country = DE\ncert_ca_name = Authority of Tests\n\
    cert_state = HE\ncert_locality = Darmstadt\ncert_organization = Tests\ncert_org_unit = 7\ncert_ca_lifetime = 40\n\
    cert_lifetime = 20\ncert_bits = 3072\ncert_crl_dist = http://crl.example.org/list\n";

fn ca(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::path("keylime_ca"));
    command.arg("-d").arg(directory.join("ca")).args(arguments).env("KEYLIME_DIR", directory);
    command.env("KEYLIME_CA_CONFIG", directory.join("ca.conf")).envs(environment.iter().copied());
    command.output().unwrap()
}

fn certificate(path: &Path) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(&std::fs::read(path).unwrap()).unwrap().1.contents
}

fn days(certificate: &X509Certificate<'_>) -> i64 {
    let validity = certificate.validity();
    (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400
}

#[test]
fn certificates_are_made_as_the_options_say() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.conf"), OPTIONS).unwrap();
    std::fs::create_dir(directory.path().join("ca")).unwrap();
    for arguments in [["-c", "init"].as_slice(), &["-c", "create", "-n", "one"]] {
        let output = ca(directory.path(), &[], arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let der = certificate(&directory.path().join("ca/cacert.crt"));
    let (_, authority) = X509Certificate::from_der(&der).unwrap();
    let subject = authority.subject().to_string();
    for part in ["C=DE", "ST=HE", "L=Darmstadt", "O=Tests", "OU=7", "CN=Authority of Tests"] {
        assert!(subject.split(", ").any(|found| found == part), "{part}: {subject}");
    }
    assert_eq!(days(&authority), 40, "cert_ca_lifetime");
    assert_eq!(authority.public_key().parsed().unwrap().key_size(), 3072, "cert_bits");
    let der = certificate(&directory.path().join("ca/one-cert.crt"));
    let (_, one) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(days(&one), 20, "cert_lifetime");
    assert_eq!(one.public_key().parsed().unwrap().key_size(), 3072, "cert_bits");
    let lists = one.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => format!("{points:?}").contains("http://crl.example.org/list"),
        _ => false,
    });
    assert!(lists, "cert_crl_dist");
    // The keys can be opened with the password of the options only.
    let output = ca(directory.path(), &[("KEYLIME_CA_PASSWORD", "another")], &["-c", "create", "-n", "two"]);
    assert!(!output.status.success(), "password: {output:?}");
}
