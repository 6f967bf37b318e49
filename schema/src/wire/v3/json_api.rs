//! Documents of JSON:API 1.1 as Keylime reads and writes them (`verifier-v3-push.md` §2).
//!
//! Reading is strict: an unknown member, a known member with an empty value, and a name outside of the pattern make the
//! whole document malformed, which is answered with 400 and an empty body. What the attributes mean is decided by the route.

use super::error_object::ErrorObject;
use super::member_name::is_member_name;
use crate::wire::python_json::{self, Layout};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

const VERSION: &str = "1.1";

/// A resource as a request brings it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestResource {
    /// Its type.
    pub kind: String,
    /// Its id; one among the attributes is moved here.
    pub id: Option<String>,
    /// Its attributes, none of which is null.
    pub attributes: Map<String, Value>,
}

/// Why a document is malformed. The reason goes to the log; clients get an empty answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedDocument {
    /// The body is not JSON.
    #[error("body is not JSON: {0}")]
    Json(String),
    /// A value that has to be an object is none.
    #[error("'{0}' is not an object")]
    NotAnObject(&'static str),
    /// A member is unknown at its place, or has an empty value.
    #[error("member {0:?} is unknown or empty")]
    Member(String),
    /// None of `data`, `errors` and `meta` is there.
    #[error("none of 'data', 'errors' and 'meta' is there")]
    Empty,
    /// The resource has no type, or one outside of the pattern.
    #[error("type of the resource is missing or malformed")]
    Type,
    /// An id is not a text.
    #[error("id of the resource is not a text")]
    Id,
    /// The name of an attribute is outside of the pattern, or its value is null.
    #[error("attribute {0:?} is malformed or null")]
    Attribute(String),
}

/// Reads a request document.
///
/// Returns the resource of its `data`; `None` when it only has `errors` or `meta`.
///
/// # Errors
/// See [`MalformedDocument`].
pub fn parse(body: &[u8]) -> Result<Option<RequestResource>, MalformedDocument> {
    read(serde_json::from_slice(body).map_err(|error| MalformedDocument::Json(error.to_string()))?)
}

/// As [`parse`], for a body that is JSON already.
///
/// # Errors
/// See [`MalformedDocument`].
pub fn read(document: Value) -> Result<Option<RequestResource>, MalformedDocument> {
    let Value::Object(mut document) = document else { return Err(MalformedDocument::NotAnObject("document")) };
    check_members(&document, &["data", "errors", "meta", "links", "jsonapi"])?;
    if !["data", "errors", "meta"].iter().any(|member| document.contains_key(*member)) {
        return Err(MalformedDocument::Empty);
    }
    document.remove("data").map(resource).transpose()
}

fn resource(data: Value) -> Result<RequestResource, MalformedDocument> {
    let Value::Object(mut data) = data else { return Err(MalformedDocument::NotAnObject("data")) };
    check_members(&data, &["type", "id", "attributes", "links", "meta"])?;
    let Some(Value::String(kind)) = data.remove("type") else { return Err(MalformedDocument::Type) };
    if !is_member_name(&kind) {
        return Err(MalformedDocument::Type);
    }
    let mut id = data.remove("id");
    let mut attributes = match data.remove("attributes") {
        None => Map::new(),
        Some(Value::Object(attributes)) => attributes,
        Some(_) => return Err(MalformedDocument::NotAnObject("attributes")),
    };
    if let Some((name, _)) = attributes.iter().find(|(name, value)| !is_member_name(name) || value.is_null()) {
        return Err(MalformedDocument::Attribute(name.clone()));
    }
    if let Some(inner) = attributes.shift_remove("id") {
        id = Some(inner);
    }
    let id = match id {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(MalformedDocument::Id),
    };
    Ok(RequestResource { kind, id, attributes })
}

fn check_members(object: &Map<String, Value>, known: &[&str]) -> Result<(), MalformedDocument> {
    match object.iter().find(|(name, value)| !known.contains(&name.as_str()) || is_empty(value)) {
        Some((name, _)) => Err(MalformedDocument::Member(name.clone())),
        None => Ok(()),
    }
}

/// What Python takes for false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// A resource of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource<A> {
    /// Its type.
    pub kind: &'static str,
    /// Its id.
    pub id: Option<String>,
    /// Its attributes.
    pub attributes: A,
    /// Path of the resource itself.
    pub self_link: Option<String>,
}

impl<A: Serialize> Serialize for Resource<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.kind)?;
        if let Some(id) = &self.id {
            map.serialize_entry("id", id)?;
        }
        map.serialize_entry("attributes", &self.attributes)?;
        if let Some(path) = self.self_link.as_deref() {
            map.serialize_entry("links", &SelfLink { path })?;
        }
        map.end()
    }
}

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content<A> {
    Resource(Resource<A>),
    Resources(Vec<Resource<A>>),
    Errors(Vec<ErrorObject>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<A> {
    content: Content<A>,
    meta: Map<String, Value>,
}

impl<A: Serialize> Document<A> {
    /// About one resource.
    pub fn one(resource: Resource<A>) -> Self {
        Self { content: Content::Resource(resource), meta: Map::new() }
    }

    /// About a list of resources, which may be empty.
    pub fn many(resources: Vec<Resource<A>>) -> Self {
        Self { content: Content::Resources(resources), meta: Map::new() }
    }

    /// Adds a member of `meta`.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.meta.insert(name.to_owned(), value.into());
        self
    }

    /// The text of the document; `path` is the path of the request.
    ///
    /// # Errors
    /// Only when the attributes cannot be represented in JSON.
    pub fn render(&self, path: &str) -> serde_json::Result<Vec<u8>> {
        python_json::to_vec(&Rendered { document: self, path }, Layout::Compact).map(escape_end_tags)
    }
}

impl Document<()> {
    /// About what was wrong with the request.
    #[must_use]
    pub fn errors(errors: Vec<ErrorObject>) -> Self {
        Self { content: Content::Errors(errors), meta: Map::new() }
    }
}

struct SelfLink<'a> {
    path: &'a str,
}

impl Serialize for SelfLink<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_member(serializer, "self", self.path)
    }
}

struct Implementation;

impl Serialize for Implementation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_member(serializer, "version", VERSION)
    }
}

fn one_member<S: Serializer>(serializer: S, name: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, text)?;
    map.end()
}

struct Rendered<'a, A> {
    document: &'a Document<A>,
    path: &'a str,
}

impl<A: Serialize> Serialize for Rendered<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.document.content {
            Content::Resource(resource) => map.serialize_entry("data", resource)?,
            Content::Resources(resources) => map.serialize_entry("data", resources)?,
            Content::Errors(errors) => map.serialize_entry("errors", errors)?,
        }
        if !self.document.meta.is_empty() {
            map.serialize_entry("meta", &self.document.meta)?;
        }
        map.serialize_entry("links", &SelfLink { path: self.path })?;
        map.serialize_entry("jsonapi", &Implementation)?;
        map.end()
    }
}

/// Keeps an answer that is embedded in a page from ending an element of it. In JSON, `</` occurs in texts only.
fn escape_end_tags(text: Vec<u8>) -> Vec<u8> {
    if !text.windows(2).any(|pair| pair == b"</") {
        return text;
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    let mut before = 0;
    for byte in text {
        if before == b'<' && byte == b'/' {
            escaped.push(b'\\');
        }
        escaped.push(byte);
        before = byte;
    }
    escaped
}

#[cfg(test)]
mod tests;
