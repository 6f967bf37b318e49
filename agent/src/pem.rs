//! Writing PEM (RFC 7468): 64 columns, final line end, as every hash over such a text in Keylime expects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const COLUMNS: usize = 64;

/// One PEM section.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::with_capacity(text.len() + text.len() / COLUMNS + 2 * label.len() + 40);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(COLUMNS));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
