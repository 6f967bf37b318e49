//! Sections `keyids` and `verification_keys`: keys and key rings.

use super::{Answers, Report, Vectors, cases, text};
use keylime_engine::ima::Keyring;
use keylime_engine::ima::key_reading::read_key;
use serde_json::{Value, json};

/// Key files and the ids signatures refer to them by.
pub fn key_ids(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let file = text(case, "file").ok_or_else(|| "no file".to_owned()).and_then(|path| vectors.file(path));
        let answers = file.map(|bytes| {
            let ours = match read_key(&bytes) {
                Ok(read) => json!({
                    "type": if read.key.is_elliptic() { "ECPublicKey" } else { "RSAPublicKey" },
                    "keyid_from_skid": read.id_in_certificate,
                    "effective_keyid": read.key_id(),
                }),
                Err(_) => json!("exception"),
            };
            let expected = if case.get("exception").is_some() {
                json!("exception")
            } else {
                json!({
                    "type": case["type"],
                    "keyid_from_skid": case["keyid_from_skid"],
                    "effective_keyid": case["effective_keyid"],
                })
            };
            Answers { expected, ours }
        });
        report.compare(vectors, "keyids", &id, case, answers);
    }
}

/// Texts of key rings.
pub fn verification_keys(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let ours = match Keyring::from_json(text(case, "input").unwrap_or_default()) {
            Ok(Some(keyring)) => json!({ "keyids": keyring.key_ids().collect::<Vec<_>>() }),
            Ok(None) => Value::Null,
            Err(_) => json!("exception"),
        };
        let expected = if case.get("exception").is_some() { json!("exception") } else { case["result"].clone() };
        report.compare(vectors, "verification_keys", &id, case, Ok(Answers { expected, ours }));
    }
}
