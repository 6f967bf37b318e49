//! Merging of the lists and tables of runtime policies (`runtime-policy.md` §10).
//!
//! Works on the JSON of a policy and keeps what it does not understand: whether the result is a policy is for the schema.

use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Sorts a list by code points and removes what it holds twice.
pub fn sort_unique(list: &mut Vec<Value>) {
    list.sort_by(compare);
    list.dedup();
}

/// The union of two lists, sorted by code points.
#[must_use]
pub fn merge_lists(mut first: Vec<Value>, second: Vec<Value>) -> Vec<Value> {
    first.extend(second);
    sort_unique(&mut first);
    first
}

/// Merges a table of lists, such as `digests`, into another. A list under a key of its own is taken as it is, neither sorted nor
/// made unique; keys keep the order in which they first appeared.
pub fn merge_tables(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, added) in from {
        match (into.get_mut(&key), added) {
            (Some(Value::Array(known)), Value::Array(added)) => *known = merge_lists(std::mem::take(known), added),
            (Some(known), added) => *known = added,
            (None, added) => {
                into.insert(key, added);
            }
        }
    }
}

/// Sorts every list of a table and removes what it holds twice.
pub fn sort_table(table: &mut Map<String, Value>) {
    for list in table.values_mut().filter_map(Value::as_array_mut) {
        sort_unique(list);
    }
}

/// Sorts all lists of a policy and removes what they hold twice: the tables of digests, `excludes` and
/// `ima.ignored_keyrings`.
pub fn sort_policy(policy: &mut Value) {
    for table in ["digests", "keyrings", "ima-buf"] {
        if let Some(table) = policy.get_mut(table).and_then(Value::as_object_mut) {
            sort_table(table);
        }
    }
    for pointer in ["/excludes", "/ima/ignored_keyrings"] {
        if let Some(list) = policy.pointer_mut(pointer).and_then(Value::as_array_mut) {
            sort_unique(list);
        }
    }
}

/// Appends a digest to the list of a name, which is made when it is missing.
pub fn append(table: &mut Map<String, Value>, name: &str, digest: &str) {
    let list = table.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.push(Value::String(digest.to_owned()));
    }
}

/// Texts by code points (which is the order of their bytes in UTF-8); what is no text comes after them, unordered.
fn compare(first: &Value, second: &Value) -> Ordering {
    match (first.as_str(), second.as_str()) {
        (Some(first), Some(second)) => first.cmp(second),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn table(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn only_lists_in_both_tables_are_sorted() {
        let mut into = table(json!({"/a": ["b", "a", "b"], "/b": ["2", "1"]}));
        merge_tables(&mut into, table(json!({"/c": ["z", "y", "z"], "/a": ["0", "a"]})));
        assert_eq!(
            Value::Object(into.clone()),
            json!({"/a": ["0", "a", "b"], "/b": ["2", "1"], "/c": ["z", "y", "z"]})
        );
        assert_eq!(into.keys().collect::<Vec<_>>(), ["/a", "/b", "/c"]);
        sort_table(&mut into);
        assert_eq!(Value::Object(into), json!({"/a": ["0", "a", "b"], "/b": ["1", "2"], "/c": ["y", "z"]}));
    }

    proptest! {
        #[test]
        fn merging_is_idempotent_and_loses_nothing(
            first in prop::collection::vec("[a-c\u{e9}]{0,2}", 0..8),
            second in prop::collection::vec("[a-c]{0,2}", 0..8),
        ) {
            let values = |texts: &[String]| texts.iter().cloned().map(Value::String).collect::<Vec<_>>();
            let merged = merge_lists(values(&first), values(&second));
            prop_assert_eq!(merge_lists(merged.clone(), values(&second)), merged.clone());
            for text in first.iter().chain(&second) {
                prop_assert!(merged.contains(&Value::String(text.clone())));
            }
            prop_assert!(merged.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
        }
    }
}
