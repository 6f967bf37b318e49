//! What a handler gets of a request.

use super::Parameters;
use bytes::Bytes;
use keylime_schema::wire::api_version::ApiVersion;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::sync::OnceLock;

/// A routed, admitted request with its body.
#[derive(Debug)]
pub struct Call {
    pub(crate) path: String,
    pub(crate) parameters: Vec<(&'static str, String)>,
    pub(crate) query: Parameters,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
    /// The body, parsed; known from the start when it came with a JSON content type.
    pub(crate) json: OnceLock<Value>,
    pub(crate) peer: Option<SocketAddr>,
}

impl Call {
    /// The value of a path parameter; empty when the route has no such parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The path as it came, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The version of the interface that was asked for; `None` for a bare major version.
    #[must_use]
    pub fn version(&self) -> Option<ApiVersion> {
        self.path.split('/').nth(1).and_then(ApiVersion::parse)
    }

    /// The announced type of the body, without parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Takes the parsed body out, if it came as JSON.
    pub fn take_json(&mut self) -> Option<Value> {
        self.json.take()
    }

    /// The query string.
    #[must_use]
    pub fn query(&self) -> &Parameters {
        &self.query
    }

    /// Address of the client.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON, whatever its announced type: Keylime's tenant announces none.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn json(&self) -> Result<&Value, serde_json::Error> {
        if let Some(value) = self.json.get() {
            return Ok(value);
        }
        let value = serde_json::from_slice(&self.body)?;
        Ok(self.json.get_or_init(|| value))
    }

    /// The members of a registrar request: query, then form, then JSON object, then path; what comes later wins
    /// (`registrar.md` §3). A body is read only if its announced type says what it is.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut insert_all = |parameters: &Parameters| {
            for (name, value) in parameters.iter() {
                members.insert(name.to_owned(), Value::String(value.to_owned()));
            }
        };
        insert_all(&self.query);
        if self.content_type.as_deref() == Some("application/x-www-form-urlencoded") {
            insert_all(&Parameters::decode(&self.body));
        }
        if let Some(Value::Object(object)) = self.json.get() {
            members.extend(object.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        for (name, value) in &self.parameters {
            members.insert((*name).to_owned(), Value::String(value.clone()));
        }
        members
    }
}

/// Whether a media type is JSON: `application/json` or `application/<word>+json`.
pub(crate) fn is_json(media_type: &str) -> bool {
    let Some(subtype) = media_type.strip_prefix("application/") else { return false };
    let Some(prefix) = subtype.strip_suffix("json") else { return false };
    prefix.is_empty()
        || prefix.strip_suffix('+').is_some_and(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_media_types() {
        for yes in ["application/json", "application/x+json", "application/vnd.api+json"] {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["text/json", "application/JSON", "application/xjson", "application/+json", "application/jsonp"] {
            assert!(!is_json(no), "{no}");
        }
    }

    #[test]
    fn the_path_wins_over_body_and_query() {
        let call = Call {
            path: String::new(),
            parameters: vec![("agent_id", "path".to_owned())],
            query: Parameters::decode(b"agent_id=query&port=1"),
            content_type: Some("application/json".to_owned()),
            body: Bytes::new(),
            json: OnceLock::from(json!({"agent_id": "body", "ip": null})),
            peer: None,
        };
        assert_eq!(Value::Object(call.members()), json!({"agent_id": "path", "port": "1", "ip": null}));
    }
}
