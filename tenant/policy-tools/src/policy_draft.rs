//! A runtime policy while it is put together.

use crate::digest_map::DigestMap;
use keylime_engine::policy::runtime_policy::empty_policy;
use keylime_engine::policy::schema_check::{SchemaViolation, check_runtime_policy};
use serde_json::{Value, json};

/// `meta.generator` of policies these tools make.
const GENERATOR: i64 = 3;

/// The members of a policy that tools fill.
#[derive(Debug, Clone)]
pub struct PolicyDraft {
    /// `digests`.
    pub digests: DigestMap,
    /// `excludes`.
    pub excludes: Vec<String>,
    /// `keyrings`.
    pub keyrings: DigestMap,
    /// `ima-buf`.
    pub buffers: DigestMap,
    /// `ima.log_hash_alg`.
    pub log_hash: String,
    /// `ima.ignored_keyrings`.
    pub ignored_keyrings: Vec<String>,
    /// `verification-keys`.
    pub verification_keys: String,
}

impl Default for PolicyDraft {
    fn default() -> Self {
        Self::from_valid(&empty_policy())
    }
}

impl PolicyDraft {
    /// Takes over what a base policy has of the known members; missing ones start empty, others are dropped.
    ///
    /// # Errors
    /// What is taken over violates the schema.
    pub fn from_base(base: &Value) -> Result<Self, SchemaViolation> {
        let mut policy = empty_policy();
        for name in ["digests", "excludes", "keyrings", "ima-buf", "verification-keys"] {
            if let Some(member) = base.get(name) {
                policy[name] = member.clone();
            }
        }
        for name in ["ignored_keyrings", "log_hash_alg"] {
            if let Some(member) = base.get("ima").and_then(|ima| ima.get(name)) {
                policy["ima"][name] = member.clone();
            }
        }
        check_runtime_policy(&policy)?;
        Ok(Self::from_valid(&policy))
    }

    /// Takes over a policy that satisfies the schema, all but `ima.log_hash_alg`, as the older tool does.
    #[must_use]
    pub fn from_checked(policy: &Value) -> Self {
        Self { log_hash: Self::default().log_hash, ..Self::from_valid(policy) }
    }

    /// The finished policy: lists sorted without repetitions, stamped with the local time.
    ///
    /// # Errors
    /// It violates the schema.
    pub fn finish(mut self, timestamp: &str) -> Result<Value, SchemaViolation> {
        for table in [&mut self.digests, &mut self.keyrings, &mut self.buffers] {
            table.tidy();
        }
        for list in [&mut self.excludes, &mut self.ignored_keyrings] {
            list.sort_unstable();
            list.dedup();
        }
        let mut policy = empty_policy();
        policy["meta"]["generator"] = json!(GENERATOR);
        policy["meta"]["timestamp"] = json!(timestamp);
        policy["digests"] = self.digests.into_json();
        policy["excludes"] = json!(self.excludes);
        policy["keyrings"] = self.keyrings.into_json();
        policy["ima"]["ignored_keyrings"] = json!(self.ignored_keyrings);
        policy["ima"]["log_hash_alg"] = json!(self.log_hash);
        policy["ima-buf"] = self.buffers.into_json();
        policy["verification-keys"] = json!(self.verification_keys);
        check_runtime_policy(&policy)?;
        Ok(policy)
    }

    fn from_valid(policy: &Value) -> Self {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            digests: DigestMap::from_json(&policy["digests"]),
            excludes: texts(&policy["excludes"]),
            keyrings: DigestMap::from_json(&policy["keyrings"]),
            buffers: DigestMap::from_json(&policy["ima-buf"]),
            log_hash: text(&policy["ima"]["log_hash_alg"]),
            ignored_keyrings: texts(&policy["ima"]["ignored_keyrings"]),
            verification_keys: text(&policy["verification-keys"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_policy_may_lack_members_but_not_violate_the_schema() {
        let base = json!({ "digests": { "/a": ["0".repeat(40)] }, "release": 7, "ima": { "log_hash_alg": "sha512" } });
        let policy = PolicyDraft::from_base(&base).unwrap().finish("now").unwrap();
        assert_eq!(policy["release"], 0);
        assert_eq!(policy["ima"]["log_hash_alg"], "sha512");
        assert_eq!(policy["meta"], json!({ "version": 1, "generator": 3, "timestamp": "now" }));
        assert!(PolicyDraft::from_base(&json!({ "digests": { "/a": ["zz"] } })).is_err());
        assert!(PolicyDraft::from_base(&json!({ "excludes": "x" })).is_err());
        assert!(PolicyDraft::from_base(&json!([])).is_ok());
    }

    #[test]
    fn members_stand_in_the_order_of_the_format() {
        let policy = PolicyDraft::default().finish("now").unwrap();
        let keys: Vec<&str> = policy.as_object().unwrap().keys().map(String::as_str).collect();
        let order = ["meta", "release", "digests", "excludes", "keyrings", "ima", "ima-buf", "verification-keys"];
        assert_eq!(keys, order);
    }
}
