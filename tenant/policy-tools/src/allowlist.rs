//! Flat allowlists: lines of a digest and a path (`policy-tools.md` §2.1).

use crate::digest_map::DigestMap;
use crate::measurement_list::Found;
use crate::python_text::{first_word, lines, strip};

/// How the paths of an allowlist are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSpelling {
    /// As they stand.
    Verbatim,
    /// With underscores for spaces, as the kernel writes them into its list.
    AsMeasured,
}

impl PathSpelling {
    /// A path in this spelling.
    #[must_use]
    pub fn of(self, path: &str) -> String {
        match self {
            Self::Verbatim => path.to_owned(),
            Self::AsMeasured => path.replace(' ', "_"),
        }
    }
}

/// Reads a flat allowlist. Digests are taken as they stand; lines without a path are skipped.
#[must_use]
pub fn read(text: &str, spelling: PathSpelling) -> Found<DigestMap> {
    let mut found = Found::<DigestMap>::default();
    for line in lines(text).map(strip).filter(|line| !line.is_empty()) {
        match first_word(line) {
            Some((digest, path)) => found.values.add(spelling.of(path), digest),
            None => found.skipped.push(format!("Skipping line that was split into 1 parts, expected 2: {line}")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_digest_and_a_path() {
        let text = "aa  /x y\n\n # /c\nlonely\nbb\t/x y\n";
        let found = read(text, PathSpelling::AsMeasured);
        assert_eq!(found.values.into_json().to_string(), r##"{"/x_y":["aa","bb"],"/c":["#"]}"##);
        assert_eq!(found.skipped, ["Skipping line that was split into 1 parts, expected 2: lonely"]);
        assert!(read(text, PathSpelling::Verbatim).values.get("/x y").is_some());
    }
}
