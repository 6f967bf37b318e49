//! Reference values from a kernel's measurement list (`policy-tools.md` §2.1).
//!
//! This reads what a machine measured in order to allow it, as literally as Keylime's tools do: nothing is verified, and
//! what cannot be used is skipped.

use crate::algorithm_choice::Hint;
use crate::digest_map::DigestMap;
use crate::python_text::lines;
use keylime_engine::algorithm::HashAlgorithm;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Where the running kernel shows its list.
pub const KERNEL_LIST: &str = "/sys/kernel/security/ima/ascii_runtime_measurements";

/// The path that stands for an empty list.
pub const NO_LIST: &str = "/dev/null";

/// Why a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the measurement list has a digest without algorithm")]
pub struct ListError {
    /// Number of the line, from one.
    pub line: usize,
}

/// What was found in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found<T> {
    /// The values.
    pub values: T,
    /// A message about each line that was skipped because it has too few or too many parts.
    pub skipped: Vec<String>,
}

/// The digests of files by path: entries of the templates `ima-ng` and `ima-sig`. A path with a space is cut there.
///
/// # Errors
/// See [`ListError`].
pub fn file_digests(list: &str) -> Result<Found<DigestMap>, ListError> {
    let mut found = Found::<DigestMap>::default();
    for (at, line) in lines(list).enumerate() {
        let pieces: Vec<&str> = line.split(' ').take(5).collect();
        let [_, _, template, digest, path] = pieces[..] else {
            let message =
                format!("Skipping line that was split into {} pieces, expected at least 5: {line}", pieces.len());
            found.skipped.push(message);
            continue;
        };
        if matches!(template, "ima-sig" | "ima-ng") {
            found.values.add(path, digest_of(digest, at)?);
        }
    }
    Ok(found)
}

/// The algorithm that the first entry, the boot aggregate, is given in.
#[must_use]
pub fn boot_aggregate_algorithm(list: &str) -> Hint {
    let line = lines(list).next().unwrap_or_default();
    let pieces: Vec<&str> = line.split(' ').take(5).collect();
    let [_, _, "ima-sig" | "ima-ng" | "ima", digest, "boot_aggregate"] = pieces[..] else { return Hint::Invalid };
    let parts: Vec<&str> = digest.split(':').collect();
    match parts[..] {
        [name, digest] => match HashAlgorithm::from_name(name) {
            Some(algorithm) if digest.chars().count() == algorithm.digest_len() * 2 => Hint::Known(algorithm),
            _ => Hint::Invalid,
        },
        [digest, ..] => Hint::of_digest(digest),
        [] => Hint::Invalid,
    }
}

/// What to take of the buffers in a list.
#[derive(Debug, Clone, Copy)]
pub struct BufferChoice<'c> {
    /// Whether keys measured into keyrings are taken.
    pub keys: Wanted,
    /// Whether other buffers are taken.
    pub others: Wanted,
    /// Keyrings whose keys are not taken.
    pub ignored_keyrings: &'c [String],
    /// How template names are compared.
    pub template: TemplateMatch,
}

/// Whether something is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl Wanted {
    /// From an option without value.
    #[must_use]
    pub fn when(given: bool) -> Self {
        if given { Self::Yes } else { Self::No }
    }
}

/// How the template of a buffer's entry is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateMatch {
    /// It is `ima-buf`.
    Exact,
    /// It is a part of `ima-buf`, which the newer tool takes for that.
    Part,
}

/// Digests of measured keys and of other buffers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Buffers {
    /// Certificates by keyring.
    pub keyrings: DigestMap,
    /// Other buffers by name.
    pub others: DigestMap,
}

/// The digests of buffers by name: entries of the template `ima-buf` with exactly six parts. A buffer that holds a
/// certificate is a key and never counts as another buffer.
///
/// # Errors
/// See [`ListError`].
pub fn buffer_digests(list: &str, choice: BufferChoice<'_>) -> Result<Found<Buffers>, ListError> {
    let mut found = Found::<Buffers>::default();
    for (at, line) in lines(list).enumerate() {
        let count = line.split(' ').count();
        let pieces: Vec<&str> = line.split(' ').take(6).collect();
        let ([_, _, template, digest, name, data], 6) = (&pieces[..], count) else {
            found.skipped.push(format!("Skipping line that was split into {count} pieces, expected 6: {line}"));
            continue;
        };
        let is_buffer = match choice.template {
            TemplateMatch::Exact => *template == "ima-buf",
            TemplateMatch::Part => "ima-buf".contains(template),
        };
        if !is_buffer {
            continue;
        }
        let digest = digest_of(digest, at)?;
        if is_certificate(data) {
            if choice.keys == Wanted::Yes && !choice.ignored_keyrings.iter().any(|ignored| ignored == name) {
                found.values.keyrings.add(*name, digest);
            }
        } else if choice.others == Wanted::Yes {
            found.values.others.add(*name, digest);
        }
    }
    Ok(found)
}

fn digest_of(field: &str, at: usize) -> Result<&str, ListError> {
    field.split(':').nth(1).ok_or(ListError { line: at + 1 })
}

fn is_certificate(data: &str) -> bool {
    let Ok(bytes) = hex::decode(crate::python_text::strip(data)) else { return false };
    matches!(X509Certificate::from_der(&bytes), Ok(([], _)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_taken_as_they_stand() {
        let list = "10 00 ima-ng sha256:aa /a b\n10 00 ima cc /c\nshort line\n10 00 ima-sig sha1:bb:dd /a sig\n";
        let found = file_digests(list).unwrap();
        assert_eq!(found.values.into_json().to_string(), r#"{"/a":["aa","bb"]}"#);
        assert_eq!(found.skipped, ["Skipping line that was split into 2 pieces, expected at least 5: short line"]);
        assert_eq!(file_digests("\n10 00 ima-ng aa /a"), Err(ListError { line: 2 }));
    }

    #[test]
    fn the_first_line_tells_the_algorithm() {
        let hint = |digest: &str| boot_aggregate_algorithm(&format!("10 00 ima-ng {digest} boot_aggregate\n"));
        assert_eq!(hint(&format!("sha384:{}", "0".repeat(96))), Hint::Known(HashAlgorithm::Sha384));
        assert_eq!(hint(&format!("sha384:{}", "0".repeat(64))), Hint::Invalid);
        assert_eq!(hint(&"0".repeat(40)), Hint::Known(HashAlgorithm::Sha1));
        assert_eq!(hint("md5:00"), Hint::Invalid);
        assert_eq!(boot_aggregate_algorithm("10 00 ima-ng sha1:00 /x"), Hint::Invalid);
        assert_eq!(boot_aggregate_algorithm(""), Hint::Invalid);
    }

    #[test]
    fn buffers_are_told_from_keys() {
        let list = "10 00 ima-buf sha256:aa name 6162\n10 00 buf sha256:bb part zz\n10 00 ima-ng sha256:cc name x\n";
        let choice = BufferChoice {
            keys: Wanted::Yes,
            others: Wanted::Yes,
            ignored_keyrings: &[],
            template: TemplateMatch::Part,
        };
        let both = buffer_digests(list, choice).unwrap().values;
        assert_eq!(both.others.into_json().to_string(), r#"{"name":["aa"],"part":["bb"]}"#);
        assert_eq!(both.keyrings, DigestMap::default());
        let exact = buffer_digests(list, BufferChoice { template: TemplateMatch::Exact, ..choice }).unwrap().values;
        assert!(exact.others.get("part").is_none());
    }
}
