//! Allowlists and exclude lists from before runtime policies, turned into one (`runtime-policy.md` §8).

use keylime_engine::policy::conversion::{self, ConversionError, ConversionNotice};
use serde_json::Value;
use tracing::info;

/// Why a text is not an allowlist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAllowlist {
    /// The allowlist is not UTF-8.
    #[error("the allowlist is not text")]
    NotText,
    /// A JSON allowlist without the member `hashes`.
    #[error("the allowlist is a JSON object without hashes; give runtime policies with --runtime-policy")]
    NoHashes,
    /// JSON that is no allowlist at all.
    #[error("{0}")]
    Other(ConversionError),
}

/// Converts an allowlist, flat or JSON, and a list of patterns to exclude.
///
/// # Errors
/// See [`InvalidAllowlist`].
pub fn convert(allowlist: &[u8], excludes: Option<&[u8]>) -> Result<Value, InvalidAllowlist> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| InvalidAllowlist::NotText);
    let mut converted = conversion::convert_allowlist(text(allowlist)?).map_err(|error| match error {
        ConversionError::NoDigests | ConversionError::AlreadyPolicy => InvalidAllowlist::NoHashes,
        other => InvalidAllowlist::Other(other),
    })?;
    for notice in &converted.notices {
        if let ConversionNotice::SkippedLine { .. } = notice {
            info!(target: "keylime.cli.policies", "{notice}");
        }
    }
    if let Some(excludes) = excludes {
        conversion::add_excludes(&mut converted.policy, text(excludes)?);
    }
    Ok(converted.policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flat_lists_become_digests_keyrings_and_excludes() {
        let list = b"aa  /usr/bin/a b\n\nbb /x\ncc /x\nlonely\ndd %keyring:.ima\n";
        let policy = convert(list, Some(b"# comment\n /tmp/.* \n\n")).unwrap();
        assert_eq!(policy["digests"], json!({"/usr/bin/a b": ["aa"], "/x": ["bb", "cc"]}));
        assert_eq!(policy["keyrings"], json!({".ima": ["dd"]}));
        assert_eq!(policy["excludes"], json!(["/tmp/.*"]));
        assert_eq!(policy["meta"]["generator"], 3);
    }

    #[test]
    fn json_lists_keep_what_a_policy_knows() {
        let list = json!({"meta": {"version": 9}, "hashes": {"/x": ["aa"]}, "release": 2, "odd": 1}).to_string();
        let policy = convert(list.as_bytes(), None).unwrap();
        assert_eq!((&policy["digests"], &policy["release"]), (&json!({"/x": ["aa"]}), &json!(2)));
        assert_eq!(policy["meta"], json!({"version": 1, "generator": 3}));
        assert!(policy.get("odd").is_none());
        assert_eq!(convert(b"{\"digests\": {}}", None), Err(InvalidAllowlist::NoHashes));
        assert_eq!(convert(b"[]", None), Err(InvalidAllowlist::Other(ConversionError::NotObject)));
        assert_eq!(convert(&[0xff], None), Err(InvalidAllowlist::NotText));
    }
}
