//! Regular expressions with the meaning of Python's `re`, on the `regex` crate where its language suffices and on
//! `fancy-regex` otherwise.
//!
//! Policies are written for Python, and a pattern that means something else here would exclude or flag something else
//! without a word; so patterns are translated, not passed on. See [`python_pattern`](super::python_pattern).

use super::python_pattern::{Texts, Translation, translate};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct PythonRegex {
    /// For non-empty ASCII texts that do not end with a line feed.
    plain: Engine,
    /// For other texts, where the pattern has to be written differently for them.
    exact: Option<Engine>,
}

#[derive(Debug, Clone)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// Why a pattern does not compile: what Python says about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// Steps back that one match may take. An honest pattern needs a few per character; a match that needs more is given up as
/// no match, so that no name in a list can stall an appraisal.
const BACKTRACK_LIMIT: usize = 50_000;

/// Memory of one compiled pattern: room for a joined list of several ten thousand paths.
const SIZE_LIMIT: usize = 128 << 20;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 2 << 20;

impl PythonRegex {
    /// Compiles `pattern` for use as Python's `re.fullmatch`.
    ///
    /// # Errors
    /// When Python would not compile it either, or it needs more memory than a pattern may.
    pub fn full_match(pattern: &str) -> Result<Self, PatternError> {
        Self::compile(pattern, r"\z")
    }

    /// Compiles `pattern` for use as Python's `re.match`, which is anchored at the start only.
    ///
    /// # Errors
    /// As for [`full_match`](Self::full_match).
    pub fn prefix_match(pattern: &str) -> Result<Self, PatternError> {
        Self::compile(pattern, "")
    }

    /// Whether the pattern matches; running out of backtracking counts as no match.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.exact {
            Some(exact) if text.is_empty() || !text.is_ascii() || text.ends_with('\n') => exact.is_match(text),
            _ => self.plain.is_match(text),
        }
    }

    fn compile(pattern: &str, end: &str) -> Result<Self, PatternError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(PatternError(format!("longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let translated = |texts| translate(pattern, texts).map_err(|refusal| PatternError(refusal.0));
        let plain = translated(Texts::Plain)?;
        let exact = if plain.depends_on_texts { Some(Engine::build(&translated(Texts::All)?, end)?) } else { None };
        Ok(Self { plain: Engine::build(&plain, end)?, exact })
    }
}

impl Engine {
    fn build(translation: &Translation, end: &str) -> Result<Self, PatternError> {
        let pattern = format!(r"\A(?:{}){end}", translation.pattern);
        if translation.needs_backtracking {
            fancy_regex::RegexBuilder::new(&pattern)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(SIZE_LIMIT)
                .build()
                .map(Self::Backtracking)
                .map_err(|e| PatternError(e.to_string()))
        } else {
            regex::RegexBuilder::new(&pattern)
                .size_limit(SIZE_LIMIT)
                .nest_limit(1000)
                .build()
                .map(Self::Linear)
                .map_err(|e| PatternError(e.to_string()))
        }
    }

    fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Linear(regex) => regex.is_match(text),
            Self::Backtracking(regex) => regex.is_match(text).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pattern: &str) -> String {
        PythonRegex::prefix_match(pattern).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn match_is_anchored_at_the_start_only() {
        let regex = PythonRegex::prefix_match("/var").unwrap();
        assert!(regex.is_match("/var/log") && !regex.is_match("x/var"));
        let regex = PythonRegex::full_match("/var|/var/log").unwrap();
        assert!(regex.is_match("/var/log") && !regex.is_match("/var/lo"));
    }

    #[test]
    fn dollar_also_stands_before_a_final_line_feed() {
        let regex = PythonRegex::prefix_match("a$").unwrap();
        assert!(regex.is_match("a") && regex.is_match("a\n") && !regex.is_match("a\n\n") && !regex.is_match("ab"));
        assert!(!PythonRegex::full_match("a$").unwrap().is_match("a\n"));
        assert!(PythonRegex::full_match("a$\n").unwrap().is_match("a\n"));
        assert!(!PythonRegex::prefix_match(r"a\Z").unwrap().is_match("a\n"));
    }

    #[test]
    fn what_other_dialects_read_differently_is_literal() {
        for (pattern, text) in
            [("[[a]", "["), ("[a&&b]", "&"), ("a{,2}b", "aab"), ("a{x}", "a{x}"), ("[]]", "]"), ("[:alpha:]", ":")]
        {
            assert!(PythonRegex::full_match(pattern).unwrap().is_match(text), "{pattern}");
        }
        assert!(!PythonRegex::full_match(r"\w").unwrap().is_match("\u{301}"));
        assert!(PythonRegex::full_match(r"\s").unwrap().is_match("\u{1c}"));
    }

    #[test]
    fn a_comment_ends_where_python_ends_it() {
        for (pattern, text) in
            [(r"a(?#\))b", "ab"), ("a(?#c)*b", "aaab"), ("(?#c)(?i)A", "a"), ("(?x)a#\\\nb\nc", "ac")]
        {
            assert!(PythonRegex::full_match(pattern).unwrap().is_match(text), "{pattern}");
        }
        for (pattern, message) in [
            ("(?#c)*", "nothing to repeat"),
            ("^(?#c)*", "nothing to repeat"),
            ("a*(?#c)*", "multiple repeat"),
            (r"(?#\)", "missing ), unterminated comment"),
        ] {
            assert_eq!(refusal(pattern), message, "{pattern}");
        }
    }

    #[test]
    fn refusals_are_pythons() {
        for (pattern, message) in [
            ("(", "missing ), unterminated subpattern"),
            (")", "unbalanced parenthesis"),
            ("[a", "unterminated character set"),
            ("*a", "nothing to repeat"),
            ("a**", "multiple repeat"),
            (r"\z", r"bad escape \z"),
            ("a(?i)b", "global flags not at the start of the expression"),
            (r"(a\1)", "cannot refer to an open group"),
            (r"\2", "invalid group reference 2"),
            ("(?<=a*)b", "look-behind requires fixed-width pattern"),
            ("(?P<a>x)(?P<a>y)", "redefinition of group name 'a' as group 2; was group 1"),
            ("[b-a]", "bad character range b-a"),
            ("a{3,2}", "min repeat greater than max repeat"),
            ("(?Pa)", "unknown extension ?Pa"),
            ("\\", "bad escape (end of pattern)"),
        ] {
            assert_eq!(refusal(pattern), message, "{pattern}");
        }
    }

    #[test]
    fn backtracking_has_an_end() {
        let regex = PythonRegex::prefix_match(r"(?=a)(?:a|aa)+\Z(?!b)(x)\1").unwrap();
        assert!(!regex.is_match(&"a".repeat(10_000)));
    }
}
