//! Body of `POST /v2.x/agents/{agent_id}` (`verifier-v2.md` §3.1).
//!
//! Reading it only sorts the members into types; whether the agent can be attested with them is decided elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Most algorithm names in one accept list; the protocol knows fewer than ten of each kind.
const MAX_ACCEPTED_ALGORITHMS: usize = 32;

/// The members of an enrolment.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v2.md §3.1")]
pub struct EnrolmentRequest {
    pub v: Option<String>,
    pub cloudagent_ip: Option<String>,
    pub cloudagent_port: Option<u16>,
    pub verifier_ip: Option<String>,
    pub verifier_port: Option<i32>,
    pub tpm_policy: String,
    /// Decoded; `None` when the member is an empty text.
    pub runtime_policy: Option<Vec<u8>>,
    pub runtime_policy_name: Option<String>,
    /// Decoded PEM of the key that must have signed the policy.
    pub runtime_policy_key: Option<Vec<u8>>,
    /// As sent; null and an empty text differ only in the database.
    pub mb_policy: Option<String>,
    pub mb_policy_name: Option<String>,
    pub ima_sign_verification_keys: String,
    pub metadata: String,
    pub revocation_key: String,
    pub accept_tpm_hash_algs: Vec<String>,
    pub accept_tpm_encryption_algs: Vec<String>,
    pub accept_tpm_signing_algs: Vec<String>,
    pub ak_tpm: String,
    /// PEM; `None` for null, absent and `disabled`.
    pub mtls_cert: Option<String>,
    pub supported_version: Option<String>,
}

/// Why a body is no enrolment. The texts of missing members are those that Keylime's peers know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The body is JSON, but no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A required member is absent.
    #[error("'{0}'")]
    Missing(&'static str),
    /// `runtime_policy` is absent or null.
    #[error("argument should be a bytes-like object or ASCII string, not 'NoneType'")]
    NoRuntimePolicy,
    /// A member has the wrong type or form.
    #[error("member '{member}' must be {expected}")]
    Form {
        /// The member.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

impl EnrolmentRequest {
    /// Sorts the members of a body.
    ///
    /// # Errors
    /// The first member that is missing or has the wrong form, in the order in which the reference reads them.
    pub fn from_json(body: &Value) -> Result<Self, EnrolmentError> {
        let members = Members(body.as_object().ok_or(EnrolmentError::NotAnObject)?);
        let tpm_policy = members.tpm_policy()?;
        let metadata = members.text("metadata")?;
        let ima_sign_verification_keys = members.nullable_text("ima_sign_verification_keys")?.unwrap_or_default();
        let revocation_key = members.nullable_text("revocation_key")?.unwrap_or_default();
        let accept_tpm_hash_algs = members.algorithms("accept_tpm_hash_algs")?;
        let accept_tpm_encryption_algs = members.algorithms("accept_tpm_encryption_algs")?;
        let accept_tpm_signing_algs = members.algorithms("accept_tpm_signing_algs")?;
        let ak_tpm = members.text("ak_tpm")?;
        let runtime_policy = members.runtime_policy()?;
        let mb_policy_name = members.nullable_text("mb_policy_name")?.filter(|name| !name.is_empty());
        let mb_policy = members.nullable_text("mb_policy")?;
        Ok(Self {
            v: members.optional_text("v")?,
            cloudagent_ip: members.optional_text("cloudagent_ip")?,
            cloudagent_port: members.port("cloudagent_port")?,
            verifier_ip: members.optional_text("verifier_ip")?,
            verifier_port: members.port("verifier_port")?.map(i32::from),
            tpm_policy,
            runtime_policy,
            runtime_policy_name: members.optional_text("runtime_policy_name")?.filter(|name| !name.is_empty()),
            runtime_policy_key: members.base64("runtime_policy_key")?,
            mb_policy,
            mb_policy_name,
            ima_sign_verification_keys,
            metadata,
            revocation_key,
            accept_tpm_hash_algs,
            accept_tpm_encryption_algs,
            accept_tpm_signing_algs,
            ak_tpm,
            mtls_cert: members.optional_text("mtls_cert")?.filter(|text| !text.is_empty() && text != "disabled"),
            supported_version: members.optional_text("supported_version")?,
        })
    }
}

/// Reads base64 as Python's `b64decode` does: characters outside the alphabet are skipped.
#[must_use]
pub fn lenient_base64(text: &str) -> Option<Vec<u8>> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Some(bytes);
    }
    let kept: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')).collect();
    STANDARD.decode(kept).ok()
}

struct Members<'a>(&'a Map<String, Value>);

impl Members<'_> {
    fn required(&self, member: &'static str) -> Result<&Value, EnrolmentError> {
        self.0.get(member).ok_or(EnrolmentError::Missing(member))
    }

    fn text(&self, member: &'static str) -> Result<String, EnrolmentError> {
        match self.required(member)? {
            Value::String(text) => Ok(text.clone()),
            _ => Err(EnrolmentError::Form { member, expected: "a text" }),
        }
    }

    fn nullable_text(&self, member: &'static str) -> Result<Option<String>, EnrolmentError> {
        self.required(member)?;
        self.optional_text(member)
    }

    fn optional_text(&self, member: &'static str) -> Result<Option<String>, EnrolmentError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(EnrolmentError::Form { member, expected: "a text or null" }),
        }
    }

    /// A text; the object that some clients send in its place is taken as the text it stands for.
    fn tpm_policy(&self) -> Result<String, EnrolmentError> {
        match self.required("tpm_policy")? {
            Value::String(text) => Ok(text.clone()),
            object @ Value::Object(_) => Ok(object.to_string()),
            _ => Err(EnrolmentError::Form { member: "tpm_policy", expected: "a text that holds a JSON object" }),
        }
    }

    fn runtime_policy(&self) -> Result<Option<Vec<u8>>, EnrolmentError> {
        let form = EnrolmentError::Form { member: "runtime_policy", expected: "base64" };
        match self.0.get("runtime_policy") {
            None | Some(Value::Null) => Err(EnrolmentError::NoRuntimePolicy),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => lenient_base64(text).map(Some).ok_or(form),
            Some(_) => Err(form),
        }
    }

    fn base64(&self, member: &'static str) -> Result<Option<Vec<u8>>, EnrolmentError> {
        match self.optional_text(member)? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => lenient_base64(&text).map(Some).ok_or(EnrolmentError::Form { member, expected: "base64" }),
        }
    }

    fn port(&self, member: &'static str) -> Result<Option<u16>, EnrolmentError> {
        let form = EnrolmentError::Form { member, expected: "a port number" };
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                number.as_u64().and_then(|number| u16::try_from(number).ok()).map(Some).ok_or(form)
            }
            Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| form),
            Some(_) => Err(form),
        }
    }

    fn algorithms(&self, member: &'static str) -> Result<Vec<String>, EnrolmentError> {
        let form = EnrolmentError::Form { member, expected: "a short list of texts" };
        let Value::Array(items) = self.required(member)? else { return Err(form) };
        if items.len() > MAX_ACCEPTED_ALGORITHMS {
            return Err(form);
        }
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().ok_or(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "v": null, "cloudagent_ip": "127.0.0.1", "cloudagent_port": "9002", "tpm_policy": "{\"mask\": \"0x400\"}",
            "runtime_policy": "", "runtime_policy_name": "", "runtime_policy_key": "", "mb_policy": null,
            "mb_policy_name": "", "ima_sign_verification_keys": "", "metadata": "{}", "revocation_key": "",
            "accept_tpm_hash_algs": ["sha256"], "accept_tpm_encryption_algs": ["rsa"],
            "accept_tpm_signing_algs": ["rsassa"], "ak_tpm": "AAAA", "mtls_cert": "disabled",
        })
    }

    #[test]
    fn sorts_a_complete_body() {
        let request = EnrolmentRequest::from_json(&body()).unwrap();
        assert_eq!(request.cloudagent_port, Some(9002));
        assert_eq!((request.runtime_policy, request.runtime_policy_name, request.mb_policy_name), (None, None, None));
        assert_eq!(request.mtls_cert, None);
        assert_eq!(request.supported_version, None);
    }

    #[test]
    fn names_each_missing_member_as_the_reference_does() {
        for member in ["tpm_policy", "metadata", "revocation_key", "accept_tpm_hash_algs", "ak_tpm", "mb_policy_name"] {
            let mut body = body();
            body.as_object_mut().unwrap().remove(member);
            assert_eq!(EnrolmentRequest::from_json(&body).unwrap_err().to_string(), format!("'{member}'"));
        }
        let mut body = body();
        body["runtime_policy"] = Value::Null;
        assert_eq!(
            EnrolmentRequest::from_json(&body).unwrap_err().to_string(),
            "argument should be a bytes-like object or ASCII string, not 'NoneType'"
        );
    }

    #[test]
    fn refuses_wrong_forms() {
        for (member, value) in [
            ("cloudagent_port", json!(70000)),
            ("cloudagent_port", json!("http")),
            ("accept_tpm_hash_algs", json!("sha256")),
            ("accept_tpm_hash_algs", json!(vec!["sha256"; 33])),
            ("runtime_policy", json!({})),
            ("ak_tpm", json!(null)),
        ] {
            let mut body = body();
            body[member] = value;
            assert!(
                matches!(EnrolmentRequest::from_json(&body), Err(EnrolmentError::Form { member: named, .. }) if named == member)
            );
        }
        assert_eq!(EnrolmentRequest::from_json(&json!([])), Err(EnrolmentError::NotAnObject));
    }
}
