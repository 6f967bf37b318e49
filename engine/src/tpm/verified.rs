//! Values that passed a cryptographic check.

use std::ops::Deref;

/// A value that only a successful check can build (invariant for CVE-2023-3674).
///
/// There is no flag to forget and no text to misread: code that needs authenticated data takes a `Verified<T>`, and outside
/// this module's parent nobody can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(super) const fn vouch(value: T) -> Self {
        Self(value)
    }

    /// Takes the value out.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
