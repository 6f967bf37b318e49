//! The request id of `X-Request-ID` (`verifier-v2.md` §1).

/// Most characters of a request id.
const MAX_CHARACTERS: usize = 36;

/// The id of a request as it is echoed and logged: word characters only, cut, so that it can forge neither header nor log
/// line.
#[must_use]
pub fn sanitise(header: &[u8]) -> String {
    String::from_utf8_lossy(header)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(MAX_CHARACTERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_36_word_characters() {
        assert_eq!(
            sanitise(b"ab-c_d$%0123456789012345678901234567890123456789"),
            "abc_d0123456789012345678901234567890"
        );
        assert_eq!(sanitise(b""), "");
        assert_eq!(sanitise(b"a\r\nX: \xff\xfe"), "aX");
    }
}
