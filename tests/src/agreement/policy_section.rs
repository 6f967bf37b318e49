//! Sections about runtime policies: schema, checksums, envelopes.

use super::{Answers, Report, Vectors, cases, text};
use base64::Engine as _;
use keylime_engine::ima::key_reading::read_public_pem;
use keylime_engine::policy::detached_signature::verify_detached;
use keylime_engine::policy::dsse;
use keylime_engine::policy::runtime_policy::{SignatureRule, checksum, verify_document};
use keylime_engine::policy::schema_check::check_runtime_policy;
use serde_json::{Value, json};

/// Policies against the schema.
pub fn schema(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let ours = match check_runtime_policy(&case["policy"]) {
            Ok(()) => json!({ "valid": true, "message": null }),
            Err(violation) => json!({ "valid": false, "message": violation.message }),
        };
        let expected = json!({ "valid": case["valid"], "message": case["message"] });
        report.compare(vectors, "runtime_policy_schema", &id, case, Ok(Answers { expected, ours }));
    }
}

/// Checksums of files.
pub fn checksums(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let file = text(case, "file").ok_or_else(|| "no file".to_owned()).and_then(|path| vectors.file(path));
        let answers = file.map(|bytes| Answers { expected: case["sha256"].clone(), ours: json!(checksum(&bytes)) });
        report.compare(vectors, "policy_checksums", &id, case, answers);
    }
}

/// When the answers about keys and signatures that expire were recorded, in seconds since the epoch.
const RECORDED: u64 = 1_780_000_000;

/// Files with a signature beside them.
pub fn detached_signatures(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let answers = detached_signature(vectors, case);
        report.compare(vectors, "detached_signatures", &id, case, answers);
    }
}

fn detached_signature(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let part = |name: &str| vectors.file(text(case, name).ok_or_else(|| format!("no {name}"))?);
    let ours = verify_detached(&part("key")?, &part("sig")?, &part("body")?, RECORDED).is_ok();
    Ok(Answers { expected: case["verified"].clone(), ours: json!(ours) })
}

/// Envelopes and plain policies, with and without keys.
pub fn envelopes(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let answers = envelope(vectors, case);
        let key = text(case, "key").unwrap_or("no key");
        report.compare(vectors, "dsse", &format!("{id} with {key}"), case, answers);
    }
}

/// Key ids and the bytes signatures cover.
pub fn envelope_details(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (name, expected) in section.as_object().into_iter().flatten() {
        let ours = match name.as_str() {
            "ecdsa_keyid_k1" => key_file(vectors, "k1").and_then(|pem| {
                let key = read_public_pem(&pem).map_err(|e| e.to_string())?;
                Ok(json!(dsse::key_id(&key)))
            }),
            "x509_keyid_is_b64_of_pem_cert" => vectors.file("dsse/env_x509.crt").and_then(|certificate| {
                let envelope: Value =
                    serde_json::from_slice(&vectors.file("dsse/env_x509.json")?).map_err(|e| e.to_string())?;
                let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
                Ok(json!(dsse::key_ids(&envelope).any(|id| id == encoded)))
            }),
            "pae_example" => {
                let bytes = dsse::pre_authentication_encoding(dsse::PAYLOAD_TYPE, b"{}");
                Ok(json!(String::from_utf8_lossy(&bytes)))
            }
            "pae_nonascii_type" => Ok(json!(hex::encode(dsse::pre_authentication_encoding("é", b"x")))),
            _ => Err("unknown detail".to_owned()),
        };
        let answers = ours.map(|ours| Answers { expected: expected.clone(), ours });
        report.compare(vectors, "dsse_ids", name, expected, answers);
    }
}

/// Decoding of an envelope's texts.
pub fn text_decoding(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        let ours = match dsse::decode_text(text(case, "in").unwrap_or_default(), "payload") {
            Ok(bytes) => json!(hex::encode(bytes)),
            Err(_) => json!("exception"),
        };
        let expected = if case.get("exception").is_some() { json!("exception") } else { case["out_hex"].clone() };
        report.compare(vectors, "dsse_b64dec", &id, case, Ok(Answers { expected, ours }));
    }
}

/// A key file by its short or full name.
pub fn key_file(vectors: &Vectors, name: &str) -> Result<Vec<u8>, String> {
    match name {
        "empty" => Ok(Vec::new()),
        "k1" | "k2" | "rsa" => vectors.file(&format!("dsse/{name}.pub")),
        file => vectors.file(&format!("dsse/{file}")),
    }
}

fn envelope(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let bytes = vectors.file(text(case, "envelope").ok_or("no envelope")?)?;
    let document = String::from_utf8_lossy(&bytes);
    if text(case, "api").is_some() {
        let verified = serde_json::from_str(&document)
            .map_err(|e| e.to_string())
            .map(|envelope: Value| dsse::self_certified_payload(&envelope));
        let ours = match verified {
            Ok(Ok(_)) => json!(true),
            Ok(Err(dsse::DsseError::Unverified)) => json!(false),
            Ok(Err(error)) => json!({ "refused": error.to_string() }),
            Err(error) => json!({ "refused": error }),
        };
        return Ok(Answers { expected: case["result"].clone(), ours });
    }
    let key = text(case, "key").map(|name| key_file(vectors, name)).transpose()?;
    let rule = if case["verify_sig"] == true { SignatureRule::Required } else { SignatureRule::NotRequired };
    let ours = match verify_document(&document, key.as_deref(), rule) {
        Ok(_) => json!("ok"),
        Err(refusal) => json!({ "refused": refusal.to_string(), "code": refusal.http_status() }),
    };
    let expected = if case["result"] == "error" {
        json!({ "refused": case["message"], "code": case["code"] })
    } else {
        case["result"].clone()
    };
    Ok(Answers { expected, ours })
}
