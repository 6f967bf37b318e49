//! What the tenant writes to standard output besides its log lines, and texts within those.

use std::io::Write as _;

use keylime_schema::wire::python_json::{self, Layout};
use serde_json::Value;

use crate::http::Reply;
use crate::python_repr;

/// JSON on one line as Python writes it.
#[must_use]
pub fn compact(value: &Value) -> String {
    // A JSON value always has a text; only maps with other keys than texts have none.
    python_json::to_string(value, Layout::Compact).unwrap_or_default()
}

/// The body of an answer as Python prints it; `{}` if it is not JSON.
#[must_use]
pub fn body_repr(reply: &Reply) -> String {
    reply.json().map_or_else(|| "{}".to_owned(), |body| python_repr::repr(&body))
}

/// Writes a line to standard output. A reader that went away is no reason to fail.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A text of a peer with everything that could start a line of its own escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            result.extend(character.escape_default());
        } else {
            result.push(character);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_peers_cannot_start_lines() {
        assert_eq!(printable("a\nb\u{1b}[0m\u{e9}"), "a\\nb\\u{1b}[0m\u{e9}");
        let not_json = Reply { status: 204, body: Vec::new() };
        assert_eq!(body_repr(&not_json), "{}");
    }
}
