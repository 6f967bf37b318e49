//! The members of a registration request, cast from JSON as the registrar's models cast them (`registrar.md` §4).

use super::certificate::{Certificate, CertificateForm};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// A member of a request: absent, null and a value differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Member<T> {
    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    pub(super) fn as_deref(&self) -> Member<&T::Target>
    where
        T: std::ops::Deref,
    {
        self.map(|value| &**value)
    }

    pub(super) fn map<'m, U>(&'m self, convert: impl FnOnce(&'m T) -> U) -> Member<U> {
        match self {
            Self::Absent => Member::Absent,
            Self::Null => Member::Null,
            Self::Value(value) => Member::Value(convert(value)),
        }
    }
}

/// The certificate that an agent's own HTTPS server shows, or its statement that it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MtlsCertificate {
    Disabled,
    Certificate(Box<Certificate>),
}

/// All members that the registrar reads.
pub(super) struct Members {
    pub(super) ek_tpm: Member<Vec<u8>>,
    pub(super) aik_tpm: Member<Vec<u8>>,
    pub(super) iak_tpm: Member<Vec<u8>>,
    pub(super) idevid_tpm: Member<Vec<u8>>,
    pub(super) ekcert: Member<Box<Certificate>>,
    pub(super) iak_cert: Member<Box<Certificate>>,
    pub(super) idevid_cert: Member<Box<Certificate>>,
    pub(super) mtls_cert: Member<MtlsCertificate>,
    pub(super) iak_attest: Member<Vec<u8>>,
    pub(super) iak_sign: Member<Vec<u8>>,
    pub(super) ip: Member<String>,
    pub(super) port: Member<i32>,
    /// What could not be cast, for the log.
    pub(super) errors: Vec<String>,
}

impl Members {
    /// Whether any member that counts as a registration of an identity was sent (`registrar.md` §4, step 9).
    pub(super) fn touch_identity(&self) -> bool {
        let keys = [&self.ek_tpm, &self.aik_tpm, &self.iak_tpm, &self.idevid_tpm];
        let certificates = [&self.ekcert, &self.iak_cert, &self.idevid_cert];
        keys.into_iter().any(Member::is_present) || certificates.into_iter().any(Member::is_present)
    }

    /// Sent certificates that only the lenient reader accepted, with what is wrong.
    pub(super) fn malformed_certificates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mtls = match self.mtls_cert.value() {
            Some(MtlsCertificate::Certificate(certificate)) => Some(certificate),
            Some(MtlsCertificate::Disabled) | None => None,
        };
        let sent = [
            ("ekcert", self.ekcert.value()),
            ("iak_cert", self.iak_cert.value()),
            ("idevid_cert", self.idevid_cert.value()),
            ("mtls_cert", mtls),
        ];
        sent.into_iter().filter_map(|(name, certificate)| match certificate?.form() {
            CertificateForm::Strict => None,
            CertificateForm::Lenient(reason) => Some((name, reason.as_str())),
        })
    }

    pub(super) fn cast(members: &Map<String, Value>) -> Self {
        let mut errors = Vec::new();
        Self {
            ek_tpm: member(members, "ek_tpm", &mut errors, binary),
            aik_tpm: member(members, "aik_tpm", &mut errors, binary),
            iak_tpm: member(members, "iak_tpm", &mut errors, binary),
            idevid_tpm: member(members, "idevid_tpm", &mut errors, binary),
            ekcert: member(members, "ekcert", &mut errors, certificate),
            iak_cert: member(members, "iak_cert", &mut errors, certificate),
            idevid_cert: member(members, "idevid_cert", &mut errors, certificate),
            mtls_cert: member(members, "mtls_cert", &mut errors, mtls_certificate),
            iak_attest: member(members, "iak_attest", &mut errors, binary),
            iak_sign: member(members, "iak_sign", &mut errors, binary),
            ip: member(members, "ip", &mut errors, address),
            port: member(members, "port", &mut errors, port),
            errors,
        }
    }
}

/// A cast: the value, null, or what is wrong.
type Cast<T> = Result<Option<T>, String>;

fn member<T>(
    members: &Map<String, Value>,
    name: &str,
    errors: &mut Vec<String>,
    cast: impl Fn(&Value) -> Cast<T>,
) -> Member<T> {
    let Some(value) = members.get(name) else { return Member::Absent };
    if value.is_null() {
        return Member::Null;
    }
    match cast(value) {
        Ok(Some(value)) => Member::Value(value),
        Ok(None) => Member::Null,
        Err(reason) => {
            errors.push(format!("{name}: {reason}"));
            // The request fails anyway; until then the member counts as not sent.
            Member::Absent
        }
    }
}

/// Strict base64; if that fails, hexadecimal with an optional `0x`. An empty text is null.
fn binary(value: &Value) -> Cast<Vec<u8>> {
    let text = text(value, MAX_BINARY_TEXT)?;
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(bytes) = PYTHON_STRICT.decode(text) {
        return Ok(Some(bytes));
    }
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map(Some).map_err(|_| "neither base64 nor hexadecimal".to_owned())
}

fn certificate(value: &Value) -> Cast<Box<Certificate>> {
    let text = text(value, MAX_CERTIFICATE_TEXT)?;
    if text.is_empty() {
        return Ok(None);
    }
    Certificate::from_text(text).map(|certificate| Some(Box::new(certificate))).map_err(|error| error.to_string())
}

fn mtls_certificate(value: &Value) -> Cast<MtlsCertificate> {
    if value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("disabled")) {
        return Ok(Some(MtlsCertificate::Disabled));
    }
    Ok(certificate(value)?.map(MtlsCertificate::Certificate))
}

/// No syntax is checked, but what would not fit a log line or a URL is refused (CVE-2022-23949).
fn address(value: &Value) -> Cast<String> {
    let text = text(value, MAX_ADDRESS_TEXT)?;
    if text.chars().any(char::is_control) {
        return Err("holds a control character".to_owned());
    }
    Ok(Some(text.to_owned()))
}

/// An integer, a boolean or a decimal text as Python's `int` reads it; the range is the database column's.
fn port(value: &Value) -> Cast<i32> {
    let refused = || "not an integer".to_owned();
    let number = match value {
        Value::Bool(flag) => i64::from(*flag),
        Value::Number(number) => number.as_i64().ok_or_else(refused)?,
        Value::String(text) => text.trim().parse().map_err(|_| refused())?,
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(refused()),
    };
    i32::try_from(number).map(Some).map_err(|_| "out of range".to_owned())
}

fn text(value: &Value, longest: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("not a text")?;
    if text.len() > longest {
        return Err(format!("longer than {longest} characters"));
    }
    Ok(text)
}

/// Texts of keys, attestations and signatures; twice the largest public area in hexadecimal.
const MAX_BINARY_TEXT: usize = 16 * 1024;
/// Texts of certificates: a leaf with its whole chain in PEM.
const MAX_CERTIFICATE_TEXT: usize = 256 * 1024;
/// Longest host name (RFC 1035 §2.3.4).
const MAX_ADDRESS_TEXT: usize = 255;

/// `base64.b64decode(…, validate=True)`: padding is required, unused bits are not looked at.
const PYTHON_STRICT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cast(value: Value) -> Members {
        let Value::Object(members) = value else { panic!("an object") };
        Members::cast(&members)
    }

    #[test]
    fn keys_are_base64_or_hexadecimal() {
        assert_eq!(cast(json!({"ek_tpm": "AQI="})).ek_tpm, Member::Value(vec![1, 2]));
        assert_eq!(cast(json!({"ek_tpm": "0x0102"})).ek_tpm, Member::Value(vec![1, 2]));
        // Hexadecimal that is base64 too is read as base64.
        assert_eq!(cast(json!({"ek_tpm": "01020304"})).ek_tpm, Member::Value(vec![0xd3, 0x5d, 0x36, 0xd3, 0x7d, 0x38]));
        assert_eq!(cast(json!({"ek_tpm": ""})).ek_tpm, Member::Null);
        assert_eq!(cast(json!({"ek_tpm": null})).ek_tpm, Member::Null);
        assert_eq!(cast(json!({})).ek_tpm, Member::Absent);
        assert_eq!(cast(json!({"ek_tpm": "!!!"})).errors.len(), 1);
        assert_eq!(cast(json!({"ek_tpm": 7})).errors.len(), 1);
        assert_eq!(cast(json!({"ek_tpm": "A".repeat(17 * 1024)})).errors.len(), 1);
    }

    #[test]
    fn ports_are_what_python_takes_for_an_integer() {
        for (value, port) in [(json!(9002), 9002), (json!("9002"), 9002), (json!(true), 1), (json!(70000), 70000)] {
            assert_eq!(cast(json!({"port": value})).port, Member::Value(port));
        }
        for value in [json!("abc"), json!(1.5), json!([1]), json!(5_000_000_000_i64), json!("9002.0")] {
            assert_eq!(cast(json!({"port": value})).errors.len(), 1, "{value}");
        }
    }

    #[test]
    fn addresses_are_texts_without_control_characters() {
        assert_eq!(cast(json!({"ip": "host.example"})).ip, Member::Value("host.example".to_owned()));
        assert_eq!(cast(json!({"ip": null})).ip, Member::Null);
        for value in [json!(5), json!("a\nb"), json!("x".repeat(256))] {
            assert_eq!(cast(json!({"ip": value})).errors.len(), 1, "{value}");
        }
    }

    #[test]
    fn a_server_certificate_may_be_disabled_in_any_case() {
        for text in ["disabled", "DISABLED", "Disabled"] {
            assert_eq!(cast(json!({"mtls_cert": text})).mtls_cert, Member::Value(MtlsCertificate::Disabled));
        }
        assert_eq!(cast(json!({"mtls_cert": "junk"})).errors.len(), 1);
    }
}
