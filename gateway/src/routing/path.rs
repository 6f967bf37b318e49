//! The path rules of Keylime's servers (`verifier-v2.md` §1, `registrar.md` §3): the target is taken as it came, nothing is
//! percent-decoded, and one trailing slash is ignored.

use keylime_schema::wire::api_version::ApiVersion;

/// Most segments of a path that are looked at; the longest route has six.
const MAX_SEGMENTS: usize = 16;

/// A path split at its slashes, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawPath<'a> {
    segments: Vec<&'a str>,
}

/// The path is not an absolute path in the sense of RFC 3986 §3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an absolute path")]
pub struct MalformedPath;

impl<'a> RawPath<'a> {
    /// Splits the path of a request target.
    ///
    /// # Errors
    /// When it is no `path-absolute` of RFC 3986: it does not start with one slash, or holds a character that must be
    /// encoded.
    pub fn parse(path: &'a str) -> Result<Self, MalformedPath> {
        let rest = path.strip_prefix('/').ok_or(MalformedPath)?;
        if rest.starts_with('/') || !is_path_text(rest) {
            return Err(MalformedPath);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A path with more segments than any route is cut after one too many, and so matches none.
        let segments = if rest.is_empty() { Vec::new() } else { rest.splitn(MAX_SEGMENTS, '/').collect() };
        Ok(Self { segments })
    }
}

/// Whether a text holds only `pchar` and `/` of RFC 3986.
fn is_path_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(position, &byte)| match byte {
        b'%' => matches!(bytes.get(position + 1..position + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit)),
        b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'/' => true,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
        other => other.is_ascii_alphanumeric(),
    })
}

/// One segment of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// This text.
    Literal(&'static str),
    /// `v2`, or any supported version of the major.
    Version(u16),
    /// Any text of at least one character, under this name.
    Parameter(&'static str),
}

/// The shape of a route's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: &'static str,
    expected: Vec<Expected>,
}

impl Pattern {
    /// Reads a pattern such as `/v2*/agents/:agent_id`: `v2*` stands for the bare major version and for every supported
    /// version of it, `:name` for a parameter.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        let expected = text
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| match (segment.strip_prefix(':'), segment) {
                (Some(name), _) => Expected::Parameter(name),
                (None, "v2*") => Expected::Version(2),
                (None, "v3*") => Expected::Version(3),
                (None, literal) => Expected::Literal(literal),
            })
            .collect();
        Self { text, expected }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// The parameters of a path, if it has this shape.
    #[must_use]
    pub fn matches<'p>(&self, path: &RawPath<'p>) -> Option<Vec<(&'static str, &'p str)>> {
        if path.segments.len() != self.expected.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (expected, &segment) in self.expected.iter().zip(&path.segments) {
            match *expected {
                Expected::Literal(literal) if literal == segment => {}
                Expected::Version(major) if is_version_of(segment, major) => {}
                Expected::Parameter(name) if !segment.is_empty() => parameters.push((name, segment)),
                Expected::Literal(_) | Expected::Version(_) | Expected::Parameter(_) => return None,
            }
        }
        Some(parameters)
    }
}

fn is_version_of(segment: &str, major: u16) -> bool {
    let Some(number) = segment.strip_prefix('v') else { return false };
    // Compared as text, so that `v2.06` is no spelling of `v2.6`.
    number == major.to_string()
        || ApiVersion::SUPPORTED.iter().any(|version| version.major == major && version.to_string() == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agent_of(path: &str) -> Option<String> {
        let pattern = Pattern::new("/v2*/agents/:agent_id");
        let path = RawPath::parse(path).ok()?;
        pattern.matches(&path).map(|parameters| parameters[0].1.to_owned())
    }

    #[test]
    fn parameters_are_taken_raw() {
        assert_eq!(agent_of("/v2.6/agents/a%20b").as_deref(), Some("a%20b"));
        assert_eq!(agent_of("/v2/agents/x/").as_deref(), Some("x"));
        assert_eq!(agent_of("/v2.0/agents/a:b@c").as_deref(), Some("a:b@c"));
    }

    #[test]
    fn segments_must_be_equal_in_number_and_text() {
        for path in ["/v2.6/agents", "/v2.6/agents/", "/v2.6/agents//", "/v2.6/agents/a/b", "/v2.6/Agents/a"] {
            assert_eq!(agent_of(path), None, "{path}");
        }
    }

    #[test]
    fn only_listed_versions_match() {
        for path in ["/v2.9/agents/a", "/v1.0/agents/a", "/2.6/agents/a", "/v2.06/agents/a", "/v3.0/agents/a"] {
            assert_eq!(agent_of(path), None, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_absolute_path() {
        for path in ["", "*", "v2.6/agents", "//v2.6/agents", "/a{b", "/a b", "/a%2", "/a%zz", "/ä", "/a\u{0}"] {
            assert_eq!(RawPath::parse(path), Err(MalformedPath), "{path:?}");
        }
    }

    #[test]
    fn the_root_has_no_segments() {
        assert!(Pattern::new("/").matches(&RawPath::parse("/").unwrap()).is_some());
        assert!(Pattern::new("/version").matches(&RawPath::parse("/version/").unwrap()).is_some());
    }

    proptest! {
        #[test]
        fn never_panics_and_never_lets_a_control_character_through(path in ".{0,200}") {
            if let Ok(parsed) = RawPath::parse(&path) {
                prop_assert!(parsed.segments.iter().all(|s| s.bytes().all(|b| b.is_ascii_graphic())));
            }
        }
    }
}
