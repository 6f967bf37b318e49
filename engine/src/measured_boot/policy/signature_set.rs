//! Keys and digests of UEFI's signature databases, as pairs of owner and data.

use super::reason::Reason;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// A set of signatures, compared as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureSet {
    by_owner: HashMap<String, HashSet<String>>,
    len: usize,
}

impl SignatureSet {
    /// Adds a signature: its owner's GUID and its data in lower-case hexadecimal.
    pub fn insert(&mut self, owner: &str, data: &str) {
        if self.by_owner.entry(owner.to_owned()).or_default().insert(data.to_owned()) {
            self.len += 1;
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tests whether a signature is in the set.
    ///
    /// # Errors
    /// It is not.
    pub fn check_member(&self, subject: &Value) -> Result<(), Reason> {
        if self.is_empty() {
            return Err(Reason::new("does not pass empty disjunction"));
        }
        let Value::Object(signature) = subject else { return Err(Reason::new("is not a dict")) };
        let text = |name: &str| match signature.get(name) {
            None => Err(Reason::new(format!("has no '{name}' field"))),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(Reason::new("is not a str").under(name)),
        };
        let (owner, data) = (text("SignatureOwner")?, text("SignatureData")?);
        match self.by_owner.get(owner) {
            None => Err(Reason::new(format!("is of the owner {owner}, of whom no signature is allowed"))),
            Some(allowed) if !allowed.contains(data) => {
                Err(Reason::new(format!("is not allowed: {}", beginning(data))))
            }
            Some(_) => Ok(()),
        }
    }

    /// Tests whether a list of signatures, each with an owner and data and nothing else, holds the whole set.
    ///
    /// # Errors
    /// It is no such list or lacks one.
    pub fn check_contained_in(&self, subject: &Value) -> Result<(), Reason> {
        let Value::Array(list) = subject else { return Err(Reason::new("is not a list")) };
        let mut present: HashSet<(&str, &str)> = HashSet::with_capacity(list.len());
        for (index, member) in list.iter().enumerate() {
            let Value::Object(member) = member else {
                return Err(Reason::new(format!("member {index} is not a dict")));
            };
            let (Some(owner), Some(data), 2) =
                (member.get("SignatureOwner"), member.get("SignatureData"), member.len())
            else {
                return Err(Reason::new(format!(
                    "member {index} does not have the right set of field names (SignatureOwner, SignatureData)"
                )));
            };
            // A member that is no text is one that nobody demands.
            present.extend(owner.as_str().zip(data.as_str()));
        }
        let all =
            self.by_owner.iter().flat_map(|(owner, set)| set.iter().map(move |data| (owner.as_str(), data.as_str())));
        let mut missing: Vec<(&str, &str)> = all.filter(|signature| !present.contains(signature)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        let count = missing.len();
        let (owner, data) = missing[0];
        Err(Reason::new(format!("lacks {count} of the {} required, such as {} of {owner}", self.len, beginning(data))))
    }
}

/// The beginning of a signature's data; a certificate fills pages.
fn beginning(data: &str) -> String {
    const MAX_CHARACTERS: usize = 128;
    if data.len() <= MAX_CHARACTERS {
        return data.to_owned();
    }
    format!("{}… ({} bytes)", data.chars().take(MAX_CHARACTERS).collect::<String>(), data.len() / 2)
}
