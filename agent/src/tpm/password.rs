//! Passwords of TPM hierarchies and keys as the configuration writes them: plain text, or `hex:` and hexadecimal.

/// Why a password cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    /// What follows `hex:` is not hexadecimal.
    #[error("what follows 'hex:' in a tpm password is not hexadecimal")]
    Hex,
}

/// The bytes a password stands for.
///
/// # Errors
/// [`InvalidPassword::Hex`].
pub fn password_bytes(text: &str) -> Result<Vec<u8>, InvalidPassword> {
    match text.strip_prefix("hex:") {
        Some(digits) => hex::decode(digits).map_err(|_| InvalidPassword::Hex),
        None => Ok(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert_eq!(password_bytes("geheim").unwrap(), b"geheim");
        assert_eq!(password_bytes("hex:00fF").unwrap(), [0, 0xFF]);
        assert_eq!(password_bytes("hex:0"), Err(InvalidPassword::Hex));
    }
}
