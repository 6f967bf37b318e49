//! Lines and words as Python splits them: the tools' input files were written for it.

pub use keylime_engine::policy::python_text::{first_word, strip};

/// A text read from a file as Python reads it in text mode: `\r\n` and `\r` end lines as `\n` does.
#[must_use]
pub fn universal_newlines(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

/// The lines that `readline` answers, without their line feed.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        let text = universal_newlines("a\r\nb\rc\n\nd");
        assert_eq!(lines(&text).collect::<Vec<_>>(), ["a", "b", "c", "", "d"]);
        assert_eq!(lines("").count(), 0);
    }
}
