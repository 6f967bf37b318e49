//! `database_pool_sz_ovfl`: how many connections a service may hold open.

use std::fmt;

/// Connections used where the option asks for "no limit", so that the number stays bounded.
const UNLIMITED: u32 = 100;

/// Pool size and how far it may be exceeded while busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// Connections kept.
    pub size: u32,
    /// Connections opened beyond them.
    pub overflow: u32,
}

/// The text is not two whole numbers with one comma between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database_pool_sz_ovfl must be two whole numbers and one comma, as in 5,10, not '{0}'")]
pub struct InvalidPoolSize(String);

impl PoolSize {
    /// Keylime's default.
    pub const DEFAULT: Self = Self { size: 5, overflow: 10 };

    /// Reads `size,overflow`. As with SQLAlchemy, size 0 and overflow -1 mean "no limit"; here that is 100 connections.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidPoolSize> {
        let invalid = || InvalidPoolSize(text.to_owned());
        let (size, overflow) = text.split_once(',').ok_or_else(invalid)?;
        let number = |part: &str| part.trim().parse::<i64>().map_err(|_| invalid());
        let bounded = |value: i64| u32::try_from(value).map_or(UNLIMITED, |value| value.min(UNLIMITED));
        let size = match number(size)? {
            0 => UNLIMITED,
            size => bounded(size),
        };
        Ok(Self { size, overflow: bounded(number(overflow)?) })
    }

    /// The most connections that may be open at once; at least one.
    #[must_use]
    pub fn limit(self) -> u32 {
        self.size.saturating_add(self.overflow).clamp(1, 2 * UNLIMITED)
    }
}

impl fmt::Display for PoolSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.size, self.overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keylimes_form() {
        assert_eq!(PoolSize::parse("5,10").unwrap(), PoolSize::DEFAULT);
        assert_eq!(PoolSize::parse(" 2 , 1 ").unwrap().limit(), 3);
        assert_eq!(PoolSize::parse("0,-1").unwrap(), PoolSize { size: 100, overflow: 100 });
        assert_eq!(PoolSize { size: 0, overflow: 0 }.limit(), 1);
    }

    #[test]
    fn refuses_other_forms() {
        for text in ["", "5", "5,10,15", "a,b", "5;10", "5,"] {
            assert!(PoolSize::parse(text).is_err(), "{text:?}");
        }
    }
}
