//! Writing PEM (RFC 7468): 64 columns, final line end, as every hash over such a text in Keylime expects.

use ::pem::{EncodeConfig, LineEnding, Pem};

/// One PEM section.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    ::pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn lines_have_64_columns() {
        let text = encode("X", &[0; 49]);
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(
            (lines[0], lines[1].len(), lines[2].len(), lines[3]),
            ("-----BEGIN X-----", 64, 4, "-----END X-----")
        );
        assert!(text.ends_with("-----\n"));
    }
}
