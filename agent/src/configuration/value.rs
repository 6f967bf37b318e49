//! One option's value and the conversions between kinds that TOML and environment variables need.

/// A value from a file (typed by TOML) or from the environment (always text).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A TOML array of scalars, each as text.
    List(Vec<String>),
}

impl Value {
    /// Takes a TOML value; none for tables and nested arrays, which no option has.
    #[must_use]
    pub fn from_toml(value: &toml::Value) -> Option<Self> {
        Some(match value {
            toml::Value::String(text) => Self::Text(text.clone()),
            toml::Value::Integer(number) => Self::Integer(*number),
            toml::Value::Float(number) => Self::Float(*number),
            toml::Value::Boolean(flag) => Self::Boolean(*flag),
            toml::Value::Array(items) => {
                let texts = items.iter().map(|item| Self::from_toml(item).map(|value| value.to_text()));
                Self::List(texts.collect::<Option<_>>()?)
            }
            toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
        })
    }

    /// The value as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::List(items) => items.join(","),
        }
    }

    /// The value as a number that is not negative.
    #[must_use]
    pub fn to_unsigned(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Boolean(flag) => Some(u64::from(*flag)),
            Self::Float(_) | Self::List(_) => None,
        }
    }

    /// The value as a truth value: besides `true` and `false` also 1/0, yes/no and on/off.
    #[must_use]
    pub fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(flag) => Some(*flag),
            Self::Integer(number) => Some(*number != 0),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            Self::Float(_) | Self::List(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_numbers_and_flags_convert() {
        assert_eq!(Value::Text("9002".into()).to_unsigned(), Some(9002));
        assert_eq!(Value::Integer(-1).to_unsigned(), None);
        assert_eq!(Value::Integer(9002).to_text(), "9002");
        assert_eq!(Value::Text("Yes".into()).to_boolean(), Some(true));
        assert_eq!(Value::Text("maybe".into()).to_boolean(), None);
    }
}
