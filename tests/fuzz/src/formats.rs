//! Certificates, keys, configuration files.

use crate::text;
use keylime_engine::identity::certificate::Certificate;
use keylime_engine::identity::certificate_store::CertificateStore;
use keylime_engine::identity::endorsement::check_certificate;
use keylime_engine::ima::{Keyring, key_reading};
use keylime_engine::policy::detached_signature::verify_detached;
use keylime_settings::ini::Ini;
use keylime_settings::python_literal;

/// Certificates and keys in any form.
pub fn certificate(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(data.to_vec()) {
        let _ = (certificate.form(), certificate.issuer(), certificate.subject());
        if let Ok(key) = certificate.subject_key() {
            let _ = certificate.verify_signature(&key);
        }
    }
    let _ = key_reading::read_key(data);
    let _ = key_reading::read_public_der(data);
    let _ = key_reading::read_public_pem(data);
    let _ = key_reading::read_certificate_pem(data);
    let _ = verify_detached(data, data, data, 0);
    if let Some(text) = text(data) {
        let _ = Certificate::from_text(text);
        let _ = check_certificate(Some(text), &CertificateStore::default());
        let _ = Keyring::from_json(text);
    }
}

/// A configuration file.
pub fn ini(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut ini = Ini::default();
    if ini.read(text).is_ok() {
        let sections: Vec<String> = ini.sections().map(str::to_owned).collect();
        for section in sections {
            let options: Vec<String> = ini.options(&section).map(|(name, _)| name.to_owned()).collect();
            for option in options {
                assert!(ini.get(&section, &option).is_some(), "{section:?} {option:?}");
            }
        }
    }
}

/// A Python literal in a configuration file.
pub fn python_literal(data: &[u8]) {
    if let Some(text) = text(data) {
        let _ = python_literal::parse(text);
    }
}
