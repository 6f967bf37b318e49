//! The request of `verify/evidence`: evidence that anybody presents once (`evidence-and-tee.md` §1).
//!
//! Only reads it. Which members are missing, in which order they are looked for, and the texts are Keylime's.

use serde_json::{Map, Value, json};

/// Why a request holds nothing that could be judged; displayed as Keylime words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `type` is absent or empty.
    #[error("missing parameter 'type'")]
    MissingType,
    /// `data` is absent or empty.
    #[error("missing parameter 'data'")]
    MissingData,
    /// Neither `tpm` nor `tee`.
    #[error("invalid evidence type")]
    UnknownType,
    /// Evidence of a trusted execution environment.
    #[error("evidence of type 'tee' is not supported by this verifier")]
    Tee,
    /// A member that nothing can be read in. Keylime answers 500 here.
    #[error("Failed to process attestation data: {member} {problem}")]
    Uninterpretable {
        /// The member.
        member: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else than a text.
    #[error("is not a string")]
    NotText,
    /// Something else than an object.
    #[error("is not an object")]
    NotObject,
    /// A text that should hold JSON and does not.
    #[error("is not JSON")]
    NotJson,
}

impl RequestError {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::MissingType | Self::MissingData | Self::UnknownType | Self::Uninterpretable { .. } => 400,
            Self::Tee => 501,
        }
    }
}

/// Something a request must hold and does not; answered as a failure of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingInput {
    /// A member of `data`.
    Member(&'static str),
    /// A policy of any kind.
    Policy,
}

impl MissingInput {
    /// Keylime's event id.
    #[must_use]
    pub fn event_id(self) -> &'static str {
        match self {
            Self::Member(_) => "default.missing_param",
            Self::Policy => "default.missing_policy",
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(self) -> Value {
        match self {
            Self::Member(name) => json!({ "message": format!("missing parameter \"{name}\"") }),
            Self::Policy => json!({
                "message": "at least one policy (tpm_policy, runtime_policy, or mb_policy) must be provided"
            }),
        }
    }
}

/// `tpm_policy` as it was presented.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PresentedTpmPolicy<'a> {
    /// JSON in a text; empty when none was presented.
    Text(&'a str),
    /// An object.
    Object(&'a Map<String, Value>),
}

/// Evidence of a TPM with the policies to judge it by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TpmEvidence<'a> {
    /// The quote string.
    pub quote: &'a str,
    /// The nonce, text or base64.
    pub nonce: &'a str,
    /// Name of the hash algorithm.
    pub hash_alg: &'a str,
    /// The attestation key: base64 of a TPM2B_PUBLIC. The endorsement key beside it has to be there and says nothing.
    pub tpm_ak: &'a str,
    /// PCR values.
    pub tpm_policy: PresentedTpmPolicy<'a>,
    /// JSON of a runtime policy or of an envelope around one; empty when none was presented.
    pub runtime_policy: &'a str,
    /// JSON of a boot policy; empty when none was presented.
    pub boot_policy: &'a str,
    /// The measurement list; empty when none was presented.
    pub ima_list: &'a str,
    /// The boot log, base64; `None` when none was presented.
    pub boot_log: Option<&'a str>,
}

/// A request whose members were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presented<'a> {
    /// Evidence that can be judged.
    Tpm(TpmEvidence<'a>),
    /// Evidence that lacks something.
    Missing(MissingInput),
}

impl<'a> Presented<'a> {
    /// Finds the members of a request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(request: &'a Value) -> Result<Self, RequestError> {
        let kind = present(request, "type").ok_or(RequestError::MissingType)?;
        let data = present(request, "data").ok_or(RequestError::MissingData)?;
        match kind.as_str() {
            Some("tpm") => read_tpm(data),
            Some("tee") => Err(RequestError::Tee),
            Some(_) | None => Err(RequestError::UnknownType),
        }
    }
}

fn read_tpm(data: &Value) -> Result<Presented<'_>, RequestError> {
    if !(data.is_object() || data.is_array()) {
        return Err(RequestError::Uninterpretable { member: "data", problem: Problem::NotObject });
    }
    let mut required = [""; 5];
    for (slot, name) in required.iter_mut().zip(["quote", "nonce", "hash_alg", "tpm_ek", "tpm_ak"]) {
        let Some(member) = present(data, name) else { return Ok(Presented::Missing(MissingInput::Member(name))) };
        *slot = member.as_str().ok_or(RequestError::Uninterpretable { member: name, problem: Problem::NotText })?;
    }
    let [quote, nonce, hash_alg, _, tpm_ak] = required;
    let tpm_policy = match present(data, "tpm_policy") {
        Some(Value::Object(object)) => PresentedTpmPolicy::Object(object),
        other => PresentedTpmPolicy::Text(text("tpm_policy", other)?),
    };
    let optional = |name| text(name, present(data, name));
    let (runtime_policy, boot_policy) = (optional("runtime_policy")?, optional("mb_policy")?);
    let no_tpm_policy = match tpm_policy {
        PresentedTpmPolicy::Text(text) => text.is_empty(),
        PresentedTpmPolicy::Object(object) => object.is_empty(),
    };
    if no_tpm_policy && runtime_policy.is_empty() && boot_policy.is_empty() {
        return Ok(Presented::Missing(MissingInput::Policy));
    }
    let boot_log = optional("mb_log")?;
    Ok(Presented::Tpm(TpmEvidence {
        quote,
        nonce,
        hash_alg,
        tpm_ak,
        tpm_policy,
        runtime_policy,
        boot_policy,
        ima_list: optional("ima_measurement_list")?,
        boot_log: Some(boot_log).filter(|log| !log.is_empty()),
    }))
}

/// A member that is there and not the empty text.
fn present<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| value.as_str() != Some(""))
}

/// An optional text; null stands for none.
fn text<'a>(name: &'static str, member: Option<&'a Value>) -> Result<&'a str, RequestError> {
    match member {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(RequestError::Uninterpretable { member: name, problem: Problem::NotText })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_read_before_the_data() {
        let no_object = RequestError::Uninterpretable { member: "data", problem: Problem::NotObject };
        for (request, error) in [
            (json!([]), RequestError::MissingType),
            (json!(1), RequestError::MissingType),
            (json!({"type": "", "data": {}}), RequestError::MissingType),
            (json!({"type": "x"}), RequestError::MissingData),
            (json!({"type": "tpm", "data": ""}), RequestError::MissingData),
            (json!({"type": "x", "data": 1}), RequestError::UnknownType),
            (json!({"type": null, "data": {}}), RequestError::UnknownType),
            (json!({"type": "tee", "data": {}}), RequestError::Tee),
            (json!({"type": "tpm", "data": null}), no_object),
            (json!({"type": "tpm", "data": "quote"}), no_object),
        ] {
            assert_eq!(Presented::read(&request), Err(error), "{request}");
        }
    }

    #[test]
    fn members_are_looked_for_in_order() {
        let no_text = |member| RequestError::Uninterpretable { member, problem: Problem::NotText };
        let mut data = json!({});
        for name in ["quote", "nonce", "hash_alg", "tpm_ek", "tpm_ak"] {
            let missing = Ok(Presented::Missing(MissingInput::Member(name)));
            assert_eq!(Presented::read(&json!({"type": "tpm", "data": data})), missing);
            data[name] = json!("");
            assert_eq!(Presented::read(&json!({"type": "tpm", "data": data})), missing);
            data[name] = Value::Null;
            let request = json!({"type": "tpm", "data": data});
            assert_eq!(Presented::read(&request), Err(no_text(name)));
            data[name] = json!("x");
        }
        for none in [Value::Null, json!("")] {
            data["tpm_policy"] = none;
            let request = json!({"type": "tpm", "data": data});
            assert_eq!(Presented::read(&request), Ok(Presented::Missing(MissingInput::Policy)));
        }
        data["runtime_policy"] = json!({});
        assert_eq!(Presented::read(&json!({"type": "tpm", "data": data})), Err(no_text("runtime_policy")));
        data["runtime_policy"] = json!("{}");
        assert!(matches!(Presented::read(&json!({"type": "tpm", "data": data})), Ok(Presented::Tpm(_))));
    }
}
