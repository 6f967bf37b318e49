//! Lines and words as Python splits them: the tools' input files were written for it.

/// A text read from a file as Python reads it in text mode: `\r\n` and `\r` end lines as `\n` does.
#[must_use]
pub fn universal_newlines(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

/// The lines that `readline` answers, without their line feed.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line))
}

/// The lines that `str.splitlines` answers for a text whose newlines are universal already.
pub fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let ends =
        |c: char| matches!(c, '\n' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split_inclusive(ends).map(move |line| line.strip_suffix(ends).unwrap_or(line))
}

/// Whether Python's `str.isspace` counts a character.
#[must_use]
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `str.strip`.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.split(None, 1)` of a stripped text: the first word and what follows the space after it.
#[must_use]
pub fn split_first_word(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once(is_space)?;
    Some((first, rest.trim_start_matches(is_space)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        let text = universal_newlines("a\r\nb\rc\n\nd");
        assert_eq!(lines(&text).collect::<Vec<_>>(), ["a", "b", "c", "", "d"]);
        assert_eq!(split_lines("a\u{b}b\u{2028}c\n").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(split_lines("").count(), 0);
        assert_eq!(lines("").count(), 0);
    }

    #[test]
    fn words_are_split_at_pythons_spaces() {
        assert_eq!(strip("\u{1c} a b \t"), "a b");
        assert_eq!(split_first_word("a \t b c"), Some(("a", "b c")));
        assert_eq!(split_first_word("a"), None);
    }
}
