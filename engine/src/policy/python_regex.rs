//! Regular expressions with the meaning of Python's `re`, on the `regex` crate where its language suffices and on
//! `fancy-regex` otherwise.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct PythonRegex(fancy_regex::Regex);

/// Why a pattern does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl PythonRegex {
    /// Compiles `pattern` for use as Python's `re.fullmatch`.
    ///
    /// # Errors
    /// When Python would not compile it either.
    pub fn full_match(pattern: &str) -> Result<Self, PatternError> {
        fancy_regex::Regex::new(&format!(r"\A(?:{pattern})\z")).map(Self).map_err(|e| PatternError(e.to_string()))
    }

    /// Compiles `pattern` for use as Python's `re.match`, which is anchored at the start only.
    ///
    /// # Errors
    /// When Python would not compile it either.
    pub fn prefix_match(pattern: &str) -> Result<Self, PatternError> {
        fancy_regex::Regex::new(&format!(r"\A(?:{pattern})")).map(Self).map_err(|e| PatternError(e.to_string()))
    }

    /// Whether the pattern matches; running out of backtracking counts as no match.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }
}
