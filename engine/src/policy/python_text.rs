//! Lines and words of a text as Python's `str` methods see them; which characters separate decides what a legacy file says.

/// The lines of a text as `str.splitlines` gives them.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((at, separator)) = rest.char_indices().find(|(_, c)| ends_line(*c)) else {
            return Some(std::mem::take(&mut rest));
        };
        let line = &rest[..at];
        rest = &rest[at + separator.len_utf8()..];
        if separator == '\r' {
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        Some(line)
    })
}

/// The text without white space at both ends, as `str.strip` gives it.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The first word and what follows the white space after it, as `str.split(None, 1)` gives them; `None` when there are not
/// two parts.
#[must_use]
pub fn first_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(is_space);
    let (word, rest) = text.split_at(text.find(is_space)?);
    let rest = rest.trim_start_matches(is_space);
    (!rest.is_empty()).then_some((word, rest))
}

/// `str.isspace` of one character: Unicode's white space and the four ASCII separators of information.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\u{0b}' | '\u{0c}' | '\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_python() {
        let text = "a\r\nb\rc\n\nd\u{0b}e\u{1c}f\u{85}g\u{2028}h\u{1f}i\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["a", "b", "c", "", "d", "e", "f", "g", "h\u{1f}i"]);
        assert_eq!(lines("").count(), 0);
        assert_eq!(lines("\n").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn words_are_separated_as_in_python() {
        assert_eq!(strip(" \u{1f}a b\u{a0}"), "a b");
        assert_eq!(first_word(" a \t b  c "), Some(("a", "b  c ")));
        assert_eq!(first_word("a "), None);
        assert_eq!(first_word(""), None);
    }
}
