//! Lists written in one text: optional brackets, items separated by commas, blanks or line ends.
//!
//! Quotes around an item are taken off, as the documentation's examples expect (`['a', "b"]`).

/// Most items of one list.
const MAX_ITEMS: usize = 1024;

/// Why a text is not a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// A comma without an item before it.
    #[error("a comma follows no item")]
    EmptyItem,
    /// An opening bracket or quote without its closing one.
    #[error("{0:?} is not closed")]
    Unclosed(char),
    /// More items than any option needs.
    #[error("more than {MAX_ITEMS} items")]
    TooLong,
}

/// The items of a list.
///
/// # Errors
/// See [`InvalidList`].
pub fn parse_list(text: &str) -> Result<Vec<String>, InvalidList> {
    let mut rest = text.trim();
    if let Some(inner) = rest.strip_prefix('[') {
        rest = inner.strip_suffix(']').ok_or(InvalidList::Unclosed('['))?;
    }
    let mut items = Vec::new();
    let mut comma_allowed = false;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Ok(items);
        };
        match first {
            ',' if comma_allowed => {
                comma_allowed = false;
                rest = &rest[1..];
                continue;
            }
            ',' => return Err(InvalidList::EmptyItem),
            '\'' | '"' => {
                let end = rest[1..].find(first).ok_or(InvalidList::Unclosed(first))?;
                items.push(rest[1..=end].to_owned());
                rest = &rest[end + 2..];
            }
            _ => {
                let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
                items.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
        }
        comma_allowed = true;
        if items.len() > MAX_ITEMS {
            return Err(InvalidList::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_separators() {
        assert_eq!(parse_list("a, b c\nd").unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(parse_list("['a b', \"c\",]").unwrap(), ["a b", "c"]);
        assert_eq!(parse_list("[]").unwrap(), Vec::<String>::new());
        assert_eq!(parse_list("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse_list("a,,b"), Err(InvalidList::EmptyItem));
        assert_eq!(parse_list(",a"), Err(InvalidList::EmptyItem));
        assert_eq!(parse_list("[a"), Err(InvalidList::Unclosed('[')));
        assert_eq!(parse_list("'a"), Err(InvalidList::Unclosed('\'')));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_list_or_an_error(text in "\\PC{0,200}") {
            let _ = parse_list(&text);
        }
    }
}
