//! Reads the JSON of a runtime policy straight into digest tables, without a tree in between.
//!
//! Reading is as tolerant as Keylime's evaluation: members that appraisal does not use are skipped, and of values that are
//! no lists of texts only their being there counts.

use super::digest_table::DigestTable;
use super::dsse;
use super::runtime_policy::{PolicyError, check_density, is_truthy};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// The members of a policy that appraisal uses.
#[derive(Debug, Default)]
pub struct PolicyDocument {
    /// `digests`.
    pub digests: DigestTable,
    /// `keyrings`.
    pub keyrings: DigestTable,
    /// `ima-buf`.
    pub buffers: DigestTable,
    /// `excludes`.
    pub excludes: Vec<String>,
    /// `ima`.
    pub ima: Option<Value>,
    /// `verification-keys`.
    pub verification_keys: String,
    /// `meta.generator`, zero when absent.
    pub generator: i64,
    payload: Option<Value>,
    members: usize,
}

impl PolicyDocument {
    /// Reads a policy or the policy in an envelope; `None` for an empty text, `null` and `{}`, which stand for no policy.
    ///
    /// # Errors
    /// [`PolicyError::NotJson`] and [`PolicyError::Malformed`].
    pub fn read(text: &str) -> Result<Option<Self>, PolicyError> {
        if text.is_empty() {
            return Ok(None);
        }
        let document = Self::parse(text)?;
        let Some(payload) = document.as_ref().and_then(|d| d.payload.as_ref()).filter(|p| is_truthy(p)) else {
            return Ok(document.filter(|d| d.members > 0));
        };
        let payload = payload.as_str().ok_or_else(|| PolicyError::Malformed("payload is no text".to_owned()))?;
        let bytes = dsse::decode_text(payload, "payload").map_err(|e| PolicyError::Malformed(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| PolicyError::NotJson)?;
        Ok(Self::parse(&text)?.filter(|d| d.members > 0))
    }

    fn parse(text: &str) -> Result<Option<Self>, PolicyError> {
        check_density(text.as_bytes())?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let document = deserializer.deserialize_option(DocumentVisitor).map_err(|e| refuse(&e))?;
        deserializer.end().map_err(|e| refuse(&e))?;
        Ok(document)
    }
}

fn refuse(error: &serde_json::Error) -> PolicyError {
    if error.is_data() { PolicyError::Malformed(error.to_string()) } else { PolicyError::NotJson }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Option<PolicyDocument>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a runtime policy object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut document = PolicyDocument::default();
        while let Some(key) = map.next_key_seed(TextSeed)? {
            document.members += 1;
            match key.as_deref().unwrap_or_default() {
                "digests" => document.digests = map.next_value_seed(TableSeed)?,
                "keyrings" => document.keyrings = map.next_value_seed(TableSeed)?,
                "ima-buf" => document.buffers = map.next_value_seed(TableSeed)?,
                "excludes" => document.excludes = texts(map.next_value()?),
                "ima" => document.ima = Some(map.next_value()?),
                "payload" => document.payload = Some(map.next_value()?),
                "meta" => {
                    let meta: Value = map.next_value()?;
                    document.generator = meta.get("generator").and_then(Value::as_i64).unwrap_or_default();
                }
                "verification-keys" => {
                    let keys: Value = map.next_value()?;
                    document.verification_keys = keys.as_str().unwrap_or_default().to_owned();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(document))
    }
}

fn texts(value: Value) -> Vec<String> {
    let Value::Array(items) = value else { return Vec::new() };
    items
        .into_iter()
        .filter_map(|item| match item {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

struct TableSeed;

impl<'de> DeserializeSeed<'de> for TableSeed {
    type Value = DigestTable;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<DigestTable, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TableSeed {
    type Value = DigestTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from paths to lists of digests")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DigestTable, A::Error> {
        let mut table = DigestTable::default();
        let mut list = Vec::new();
        while let Some(path) = map.next_key_seed(TextSeed)? {
            list.clear();
            map.next_value_seed(ListSeed(&mut list))?;
            table.set(path.as_deref().unwrap_or_default(), &list).map_err(A::Error::custom)?;
        }
        table.shrink();
        Ok(table)
    }
}

/// Reads a list of texts; everything that is no text is left out.
struct ListSeed<'l, 'de>(&'l mut Vec<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for ListSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of digests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element_seed(TextSeed)? {
            self.0.extend(item);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        IgnoredAny.visit_map(map).map(drop)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a text without copying it when it has no escapes; other values are `None`.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}
