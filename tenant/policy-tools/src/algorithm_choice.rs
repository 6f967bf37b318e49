//! Which digest algorithm the files of a policy are measured with (`policy-tools.md` §2.1).
//!
//! Every input of a policy tells something about it; inputs that contradict each other would make a policy that matches
//! no machine, so they stop the tool.

use keylime_engine::algorithm::HashAlgorithm;
use std::fmt;

/// What an input tells about the algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Exactly one.
    Known(HashAlgorithm),
    /// Digests of 256 bits, of which there are two kinds.
    Sha256OrSm3,
    /// Digests of no known length, or none at all.
    Invalid,
}

impl Hint {
    /// What the first digest of a list tells by its length.
    #[must_use]
    pub fn of_list(first: Option<&str>) -> Self {
        match first.map_or(Self::Invalid, Self::of_digest) {
            Self::Known(HashAlgorithm::Sha256) => Self::Sha256OrSm3,
            hint => hint,
        }
    }

    /// What a digest tells by its length; the more common of two algorithms.
    #[must_use]
    pub fn of_digest(digest: &str) -> Self {
        let fits = |algorithm: &HashAlgorithm| digest.chars().count() == algorithm.digest_len() * 2;
        HashAlgorithm::ALL.into_iter().find(fits).map_or(Self::Invalid, Self::Known)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(algorithm) => algorithm.fmt(f),
            Self::Sha256OrSm3 => f.write_str("sha256_or_sm3_256"),
            Self::Invalid => f.write_str("invalid"),
        }
    }
}

/// Decides on the algorithm from hints, the most important first; `None` when there are none.
///
/// # Errors
/// A message for each hint that is invalid or contradicts those before it.
pub fn decide(hints: &[(&str, Option<Hint>)]) -> Result<Option<Hint>, Vec<String>> {
    let mut decided: Option<Hint> = None;
    let mut problems = Vec::new();
    for (source, hint) in hints {
        let Some(hint) = *hint else { continue };
        if hint == Hint::Invalid {
            problems.push(format!("Invalid digest algorithm found in the {source}"));
            continue;
        }
        let fits_both = matches!(hint, Hint::Known(HashAlgorithm::Sha256 | HashAlgorithm::Sm3_256));
        match decided {
            None => decided = Some(hint),
            Some(Hint::Sha256OrSm3) if fits_both => decided = Some(hint),
            Some(before) if before != hint => problems.push(format!(
                "The digest algorithm in the {source} does not match the previously set '{before}' algorithm"
            )),
            Some(_) => {}
        }
    }
    if problems.is_empty() { Ok(decided) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HashAlgorithm::{Sha1, Sha256, Sm3_256};

    #[test]
    fn a_later_hint_sharpens_an_ambiguous_one_but_not_the_other_way_round() {
        let hints = |hints: &[Hint]| -> Vec<(&str, Option<Hint>)> { hints.iter().map(|h| ("x", Some(*h))).collect() };
        let (sha256, sm3) = (Hint::Known(Sha256), Hint::Known(Sm3_256));
        assert_eq!(decide(&hints(&[Hint::Sha256OrSm3, sm3])), Ok(Some(sm3)));
        assert_eq!(decide(&hints(&[Hint::Sha256OrSm3, Hint::Sha256OrSm3])), Ok(Some(Hint::Sha256OrSm3)));
        assert!(decide(&hints(&[sha256, Hint::Sha256OrSm3])).is_err());
        assert!(decide(&hints(&[Hint::Sha256OrSm3, sm3, sha256])).is_err());
        assert_eq!(decide(&[("x", None)]), Ok(None));
    }

    #[test]
    fn every_contradiction_is_named() {
        let problems =
            decide(&[("a", Some(Hint::Invalid)), ("b", Some(Hint::Known(Sha1))), ("c", Some(Hint::Known(Sha256)))]);
        assert_eq!(
            problems.unwrap_err(),
            [
                "Invalid digest algorithm found in the a",
                "The digest algorithm in the c does not match the previously set 'sha1' algorithm"
            ]
        );
        assert_eq!(Hint::of_list(Some(&"0".repeat(64))), Hint::Sha256OrSm3);
        assert_eq!(Hint::of_list(Some("#")), Hint::Invalid);
        assert_eq!(Hint::of_list(None), Hint::Invalid);
    }
}
