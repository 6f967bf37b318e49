//! Query strings and forms, decoded as `application/x-www-form-urlencoded`.

/// Most parameters that are looked at; no route knows more than a dozen.
const MAX_PARAMETERS: usize = 64;

/// Decoded name and value pairs in their order; pairs with an empty value count as absent, as at the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes a query string or a form.
    #[must_use]
    pub fn decode(text: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(text)
            .filter(|(_, value)| !value.is_empty())
            .take(MAX_PARAMETERS)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self(pairs)
    }

    /// The last value under this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_plus_and_percent_and_drops_blanks() {
        let parameters = Parameters::decode(b"quote=r%2Fa+b&verifier=&bulk=True&bulk=x");
        assert_eq!(parameters.get("quote"), Some("r/a b"));
        assert_eq!(parameters.get("verifier"), None);
        assert_eq!(parameters.get("bulk"), Some("x"));
    }
}
