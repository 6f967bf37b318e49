//! Exclude lists: one regular expression of Python a line (`policy-tools.md` §2.1).

use crate::python_text::{lines, strip};
use keylime_engine::policy::python_regex::PythonRegex;

/// A pattern that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Bad IMA exclude list rule '{pattern}': Invalid regex: {reason}.")]
pub struct BadRule {
    /// The pattern.
    pub pattern: String,
    /// What Python's compiler says about it.
    pub reason: String,
}

/// Reads an exclude list; lines that look like comments are patterns too.
///
/// # Errors
/// The first pattern that does not compile.
pub fn read(text: &str) -> Result<Vec<String>, BadRule> {
    let patterns = lines(text).map(strip).filter(|line| !line.is_empty());
    patterns.map(|pattern| check(pattern).map(|()| pattern.to_owned())).collect()
}

/// Checks a pattern in the group it is used in.
fn check(pattern: &str) -> Result<(), BadRule> {
    PythonRegex::prefix_match(&format!("({pattern})"))
        .map(drop)
        .map_err(|error| BadRule { pattern: pattern.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked_one_by_one() {
        assert_eq!(read("# comment\n\n  /tmp/.* \n").unwrap(), ["# comment", "/tmp/.*"]);
        assert_eq!(
            read("/ok\n(\n").unwrap_err().to_string(),
            "Bad IMA exclude list rule '(': Invalid regex: missing ), unterminated subpattern."
        );
    }
}
