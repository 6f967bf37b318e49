//! The files of an authority, compared with those the reference writes.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keylime_pki::authority::{Authority, AuthorityError, KeyAlgorithm, Purpose, Subject};
use keylime_pki::{KeystoreError, private_key, tls};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, ParsedExtension, X509Certificate};

/// The reference's files, in a directory of their own.
fn reference(directory: &Path) {
    let vector: serde_json::Value = serde_json::from_str(include_str!("data/ca.json")).unwrap();
    for (file, field) in [
        ("private.yml", "private_yml"),
        ("cacert.crt", "cacert_crt"),
        ("client-cert.crt", "client_cert_crt"),
        ("server-cert.crt", "server_cert_crt"),
        ("cacrl.pem", "cacrl_pem_after_revoke"),
    ] {
        std::fs::write(directory.join(file), vector[field].as_str().unwrap()).unwrap();
    }
}

fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

/// Issuer, subject, and the extensions with object identifier, criticality and value.
type Shape = (Vec<u8>, Vec<u8>, Vec<(String, bool, Vec<u8>)>);

/// Everything of a certificate but key, times and signature: names, serial, and extensions with their bytes.
fn shape(der: &[u8]) -> Shape {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let extensions = certificate.extensions().iter();
    let extensions = extensions.map(|e| (e.oid.to_id_string(), e.critical, e.value.to_vec())).collect();
    (certificate.issuer().as_raw().to_vec(), certificate.subject().as_raw().to_vec(), extensions)
}

#[test]
fn continues_a_directory_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    reference(directory.path());
    let expected = shape(&der(&std::fs::read(directory.path().join("server-cert.crt")).unwrap()));
    let mut authority = Authority::open(directory.path(), "testpass").unwrap();

    let issued = authority.issue("server", &[], &[], None).unwrap();

    assert_eq!(issued.serial, 4);
    assert_eq!(shape(&der(issued.certificate_pem.as_bytes())), expected);
    authority.revoke("server").unwrap();
    let (_, list) = {
        let bytes: &'static [u8] =
            Box::leak(std::fs::read(directory.path().join("cacrl.der")).unwrap().into_boxed_slice());
        CertificateRevocationList::from_der(bytes).unwrap()
    };
    let serials: Vec<String> = list.iter_revoked_certificates().map(|entry| entry.serial().to_string()).collect();
    assert_eq!(serials, ["2", "4"]);
    assert!(list.extensions().is_empty());
}

#[test]
fn a_new_authority_has_the_profile_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let vector: serde_json::Value = serde_json::from_str(include_str!("data/ca.json")).unwrap();
    let authority = Authority::init(directory.path(), &Subject::default(), "pw").unwrap();

    let (issuer, subject, extensions) = shape(authority.certificate());

    let (want_issuer, want_subject, want) = shape(&der(vector["cacert_crt"].as_str().unwrap().as_bytes()));
    assert_eq!((issuer, subject), (want_issuer, want_subject));
    for ((oid, critical, value), (want_oid, want_critical, want_value)) in extensions.iter().zip(&want) {
        assert_eq!((oid, critical, value.len()), (want_oid, want_critical, want_value.len()));
        // The two key identifiers differ with the key.
        if !["2.5.29.14", "2.5.29.35"].contains(&oid.as_str()) {
            assert_eq!(value, want_value);
        }
    }
    assert_eq!(extensions.len(), want.len());
    let (_, certificate) = X509Certificate::from_der(authority.certificate()).unwrap();
    assert_eq!(certificate.raw_serial(), [1]);
    let validity = certificate.validity();
    assert_eq!((validity.not_after - validity.not_before).unwrap().whole_days(), 3650);
    assert!(certificate.verify_signature(None).is_ok());
}

#[test]
fn files_have_the_modes_and_contents_services_expect() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    let mut authority = Authority::init(&path, &Subject::default(), "pw").unwrap();
    let san = ["localhost".to_owned()];
    let issued = authority.issue("server", &san, &["::1".parse::<IpAddr>().unwrap()], Some("secret")).unwrap();

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for file in [
        "cacert.crt",
        "ca-public.pem",
        "cacrl.der",
        "cacrl.pem",
        "private.yml",
        "server-cert.crt",
        "server-private.pem",
        "server-public.pem",
    ] {
        let mode = std::fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640, "{file}");
    }
    assert!(!path.join("ca-private.pem").exists());
    let (certificate, key) = (path.join("server-cert.crt"), path.join("server-private.pem"));
    assert!(tls::load_identity(&certificate, &key, Some("secret")).is_ok());
    assert!(tls::load_identity(&certificate, &key, None).is_err());
    assert!(issued.private_key_pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let bytes = der(issued.certificate_pem.as_bytes());
    let (_, parsed) = X509Certificate::from_der(&bytes).unwrap();
    assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
    assert!(authority.has_issued("server") && !authority.has_issued("client"));
}

#[test]
fn a_package_holds_the_files_in_order_and_names_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let mut authority = Authority::init(directory.path(), &Subject::default(), "pw").unwrap();
    authority.issue("agent", &[], &[], None).unwrap();

    let package = authority.package("agent").unwrap();

    assert_eq!((package.serial, package.subject.as_str()), (2, "OU=53,O=Keylime,L=Lexington,ST=MA,CN=agent,C=US"));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&package.zip)).unwrap();
    let names: Vec<String> =
        (0..archive.len()).map(|at| archive.by_index(at).unwrap().name().unwrap().into_owned()).collect();
    let expected = ["agent-public.pem", "agent-cert.crt", "agent-private.pem", "cacert.crt", "cacrl.der", "cacrl.pem"];
    assert_eq!(names, expected);
    assert_eq!(archive.by_index(0).unwrap().compression(), zip::CompressionMethod::Stored);
    let path = authority.write_package("agent", &package).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(authority.package("other"), Err(AuthorityError::NotIssued(_))));
}

#[test]
fn purposes_and_lifetimes_are_written_when_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let subject = Subject { lifetime_days: 7, ..Subject::default() };
    let mut authority = Authority::init(directory.path(), &subject, "pw").unwrap();
    let issued = authority.issue_for("client", &[], &[], None, Some(Purpose::Client)).unwrap();

    let bytes = der(issued.certificate_pem.as_bytes());
    let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
    let validity = certificate.validity();
    assert_eq!((validity.not_after - validity.not_before).unwrap().whole_days(), 7);
    let usage = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some((usage.client_auth, usage.server_auth)),
        _ => None,
    });
    assert_eq!(usage, Some((true, false)));
}

#[test]
fn wrong_passwords_names_and_sizes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut authority = Authority::init(directory.path(), &Subject::default(), "pw").unwrap();
    for name in ["", "../x", "a/b", "ca", "lastserial", "revoked_keys", "a\nb", &"x".repeat(300)] {
        assert!(matches!(authority.issue(name, &[], &[], None), Err(AuthorityError::Name(_))), "{name:?}");
    }
    let wrong = Authority::open(directory.path(), "no");
    assert!(matches!(wrong, Err(AuthorityError::Keystore(KeystoreError::Password))));
    let odd = Subject { bits: 1000, ..Subject::default() };
    assert!(matches!(Authority::init(directory.path(), &odd, "pw"), Err(AuthorityError::KeySize(1000))));
}

#[test]
fn an_imported_key_signs_and_counts_from_the_serial_given() {
    let directory = tempfile::tempdir().unwrap();
    reference(directory.path());
    let old = Authority::open(directory.path(), "testpass").unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(old.directory().join("cacert.crt"), certificate.pem()).unwrap();

    Authority::import_key(directory.path(), "testpass", key.serialize_pem().as_bytes(), 41).unwrap();

    let mut authority = Authority::open(directory.path(), "testpass").unwrap();
    let issued = authority.issue("agent", &[], &[], None).unwrap();
    assert_eq!(issued.serial, 43);
    let (leaf, root) = (der(issued.certificate_pem.as_bytes()), certificate.der());
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let (_, root) = X509Certificate::from_der(root).unwrap();
    assert!(leaf.verify_signature(Some(root.public_key())).is_ok());
    authority.revoke("agent").unwrap();
    assert!(private_key::read_pem(issued.private_key_pem.as_bytes(), None).is_ok());
}

#[test]
fn an_authority_may_use_ecdsa_and_still_sign_notices_with_rsa() {
    for (algorithm, oid) in
        [(KeyAlgorithm::EcdsaP256, "1.2.840.10045.4.3.2"), (KeyAlgorithm::EcdsaP384, "1.2.840.10045.4.3.3")]
    {
        let directory = tempfile::tempdir().unwrap();
        let subject = Subject { algorithm, lifetime_days: 30, ..Subject::default() };
        Authority::init(directory.path(), &subject, "pw").unwrap();
        let mut authority = Authority::open(directory.path(), "pw").unwrap().with_subject(subject);
        let issued = authority.issue("server", &["localhost".to_owned()], &[], Some("secret")).unwrap();
        let notifier = authority.issue_rsa("RevocationNotifier").unwrap();
        authority.revoke("server").unwrap();

        let (_, ca) = X509Certificate::from_der(authority.certificate()).unwrap();
        assert!(ca.verify_signature(None).is_ok());
        let bytes = der(issued.certificate_pem.as_bytes());
        let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
        assert!(certificate.verify_signature(Some(ca.public_key())).is_ok());
        assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), oid);
        let validity = certificate.validity();
        assert_eq!((validity.not_after - validity.not_before).unwrap().whole_days(), 30);
        let (path, key) = (directory.path().join("server-cert.crt"), directory.path().join("server-private.pem"));
        assert!(tls::load_identity(&path, &key, Some("secret")).is_ok());
        let bytes = der(notifier.certificate_pem.as_bytes());
        let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
        assert!(matches!(certificate.public_key().parsed(), Ok(x509_parser::public_key::PublicKey::RSA(_))));
        let list = std::fs::read(directory.path().join("cacrl.der")).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
        assert!(list.verify_signature(ca.public_key()).is_ok());
        assert_eq!(list.iter_revoked_certificates().count(), 1);
    }
}
