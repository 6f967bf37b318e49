//! Names of types and attributes.

/// Whether a text may be the type of a resource or the name of an attribute: an optional `@` or namespace with a colon, then
/// letters, digits, `-` and `_` that begin and end with a letter or digit.
pub(super) fn is_member_name(text: &str) -> bool {
    let name = match (text.strip_prefix('@'), text.split_once(':')) {
        (Some(name), _) => name,
        (None, Some((namespace, name))) if !namespace.is_empty() && namespace.bytes().all(is_plain) => name,
        (None, _) => text,
    };
    let bytes = name.as_bytes();
    bytes.first().copied().is_some_and(is_plain)
        && bytes.last().copied().is_some_and(is_plain)
        && bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'_'))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern() {
        for name in ["a", "A1", "evidence_supported", "a-b", "@type", "ns:name", "1:2"] {
            assert!(is_member_name(name), "{name}");
        }
        for name in ["", "_a", "a_", "-", "@", "a:", ":a", "a:b:c", "a b", "é", "a\n", "a.b", "@@a", "@a:b"] {
            assert!(!is_member_name(name), "{name:?}");
        }
    }
}
