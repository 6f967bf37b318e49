//! Values that name files, in the ways people write them.

use serde_json::Value;
use std::path::PathBuf;

/// The home of the user who runs the process.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// A path with the user's home in place of `~`.
#[must_use]
pub fn expanded(path: &str) -> String {
    expanded_at(path, home())
}

fn expanded_at(path: &str, home: Option<PathBuf>) -> String {
    let rest = match path.strip_prefix('~') {
        Some("") => "",
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) | None => return path.to_owned(),
    };
    home.map_or_else(|| path.to_owned(), |home| format!("{}{rest}", home.display()))
}

/// A value without the comment after it, which INI files do not have and the documentation prints.
pub(crate) fn without_comment(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']));
    comment.map_or(value, |(at, _)| &value[..at]).trim()
}

/// The words of a list without quotes, with or without brackets; `None` if it has anything else that needs quoting.
pub(crate) fn bare_words(value: &str) -> Option<Vec<Value>> {
    let value = without_comment(value);
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    if inner.contains(['[', ']', '(', ')', '{', '}', '\'', '"']) {
        return None;
    }
    Some(inner.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_stands_for_the_tilde_alone() {
        let at = |path| expanded_at(path, Some("/home/u".into()));
        assert_eq!((at("~/certs/"), at("~")), ("/home/u/certs/".to_owned(), "/home/u".to_owned()));
        assert_eq!((at("~other/x"), at("a/~/b")), ("~other/x".to_owned(), "a/~/b".to_owned()));
        assert_eq!(expanded_at("~/x", None), "~/x");
    }

    #[test]
    fn comments_need_a_blank_before_them() {
        assert_eq!(without_comment("default           # Uses cv_ca"), "default");
        assert_eq!(without_comment("/etc/a#b"), "/etc/a#b");
        assert_eq!(without_comment("# all"), "# all");
    }

    #[test]
    fn words_need_no_quotes_but_all_or_none() {
        assert_eq!(bare_words("[cacert.crt] # x"), Some(vec!["cacert.crt".into()]));
        assert_eq!(bare_words("a, b\nc,"), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(bare_words("[a, 'b']"), None);
        assert_eq!(bare_words("[a"), None);
    }
}
