//! Digests by path, in the order in which paths were found.

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// Digests (hexadecimal texts) by path, keyring or buffer name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DigestMap(IndexMap<String, Vec<String>>);

impl DigestMap {
    /// Adds a digest.
    pub fn add(&mut self, name: impl Into<String>, digest: impl Into<String>) {
        self.0.entry(name.into()).or_default().push(digest.into());
    }

    /// Adds all digests of another map.
    pub fn merge(&mut self, other: Self) {
        for (name, digests) in other.0 {
            self.0.entry(name).or_default().extend(digests);
        }
    }

    /// Sorts the digests of each name and drops repetitions.
    pub fn tidy(&mut self) {
        for digests in self.0.values_mut() {
            digests.sort_unstable();
            digests.dedup();
        }
    }

    /// Names with their digests.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, digests)| (name.as_str(), digests.as_slice()))
    }

    /// The digests of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The first digest of the first name.
    #[must_use]
    pub fn first_digest(&self) -> Option<&str> {
        self.0.first()?.1.first().map(String::as_str)
    }

    /// Reads a table of a policy that satisfies the schema; elements of other types than text are left out.
    #[must_use]
    pub fn from_json(table: &Value) -> Self {
        let lists = table.as_object().into_iter().flatten().map(|(name, list)| {
            let digests = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            (name.clone(), digests.map(str::to_owned).collect())
        });
        Self(lists.collect())
    }

    /// The table as a policy holds it.
    #[must_use]
    pub fn into_json(self) -> Value {
        let lists = self
            .0
            .into_iter()
            .map(|(name, digests)| (name, Value::Array(digests.into_iter().map(Value::String).collect())));
        Value::Object(lists.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_keep_their_order_and_digests_are_sorted_once_each() {
        let mut map = DigestMap::from_json(&json!({ "/z": ["b", "a"], "/a": ["c"] }));
        let mut other = DigestMap::default();
        other.add("/n", "e");
        other.add("/z", "a");
        map.merge(other);
        map.tidy();
        assert_eq!(map.clone().into_json().to_string(), r#"{"/z":["a","b"],"/a":["c"],"/n":["e"]}"#);
        assert_eq!((map.first_digest(), map.get("/a").unwrap().len()), (Some("a"), 1));
    }
}
