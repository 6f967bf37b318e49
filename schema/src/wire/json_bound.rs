//! A bound on what JSON may unfold to: a value takes many times the memory of the two bytes it may be written with.

/// Most values in the JSON of a request. Genuine ones hold some hundred; policies and logs travel in texts.
pub const MAX_JSON_NODES: usize = 100_000;

/// An upper bound of the number of values in a JSON text, keys included: each is the first or follows a comma, a colon or an
/// opening bracket.
#[must_use]
pub fn json_nodes(text: &[u8]) -> usize {
    let (mut nodes, mut in_text, mut escaped) = (1, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' | b':' if !in_text => nodes += 1,
            _ => {}
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_texts_do_not_count() {
        assert_eq!(json_nodes(br#""a,[{\",[""#), 1);
        assert_eq!(json_nodes(br#"{"a\\":[1,2,{}],"b":null}"#), 8);
    }
}
