//! A bound on what JSON may unfold to: a value takes many times the memory of the two bytes it may be written with.

/// Most values in the JSON of a request. Genuine ones hold some hundred; policies and logs travel in texts.
pub const MAX_JSON_NODES: usize = 100_000;

/// Most values that JSON of this many bytes may hold when it consists of digests, paths and patterns, as policies do.
#[must_use]
pub fn policy_nodes(bytes: usize) -> usize {
    4096 + bytes / 8
}

/// An upper bound of the number of values in a JSON text, keys included: each is the first or follows a comma, a colon or an
/// opening bracket.
#[must_use]
pub fn json_nodes(text: &[u8]) -> usize {
    let mut nodes = 1;
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b',' | b'[' | b'{' | b':' => nodes += 1,
            b'"' => rest = after_text(rest),
            _ => {}
        }
    }
    nodes
}

/// What follows the end of a text.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_texts_do_not_count() {
        assert_eq!(json_nodes(br#""a,[{\",[""#), 1);
        assert_eq!(json_nodes(br#"{"a\\":[1,2,{}],"b":null}"#), 9);
        for unfinished in [&b""[..], b"\"", b"\"\\", b"\"\\\""] {
            assert_eq!(json_nodes(unfinished), 1);
        }
    }
}
