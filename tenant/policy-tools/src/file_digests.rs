//! Digests of many files at once, on all processors.

use crate::environment::ProgressDisplay;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use indicatif::{ProgressBar, ProgressStyle};
use keylime_engine::algorithm::HashAlgorithm;
use nix::fcntl::OFlag;
use rayon::prelude::*;
use sm3::Digest as _;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file to digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What the policy calls it.
    pub key: String,
    /// Its size in bytes when it was found.
    pub size: u64,
}

/// Digests of files, and what went wrong with others.
#[derive(Debug, Default)]
pub struct Digests {
    /// Keys with hexadecimal digests, in the order of the files.
    pub digests: Vec<(String, String)>,
    /// Messages about files that could not be read.
    pub unreadable: Vec<String>,
}

/// Bytes read at once; fits the second-level cache.
const CHUNK: usize = 256 << 10;

/// Files larger than this are begun first, so that no processor is left alone with one at the end.
const LARGE: u64 = 16 << 20;

/// Digests files; those that cannot be read are left out.
#[must_use]
pub fn digest_files(mut files: Vec<PlannedFile>, algorithm: HashAlgorithm, progress: ProgressDisplay) -> Digests {
    let bar = progress_bar(&files, progress);
    let order: Vec<usize> = {
        let (mut large, small): (Vec<usize>, Vec<usize>) = (0..files.len()).partition(|at| files[*at].size > LARGE);
        large.sort_unstable_by_key(|at| std::cmp::Reverse(files[*at].size));
        large.into_iter().chain(small).collect()
    };
    let results: Vec<(usize, io::Result<String>)> = order
        .into_par_iter()
        .with_max_len(64)
        .map_init(
            || vec![0; CHUNK],
            |buffer, at| (at, digest_file(&files[at].path, files[at].size, algorithm, buffer, &bar)),
        )
        .collect();
    bar.finish_and_clear();
    let mut by_place: Vec<Option<io::Result<String>>> = Vec::new();
    by_place.resize_with(files.len(), || None);
    for (at, result) in results {
        by_place[at] = Some(result);
    }
    let mut found = Digests::default();
    for (file, result) in files.drain(..).zip(by_place) {
        match result {
            Some(Ok(digest)) => found.digests.push((file.key, digest)),
            Some(Err(error)) => found.unreadable.push(format!("cannot read {}: {error}", file.path.display())),
            None => {}
        }
    }
    found
}

fn digest_file(
    path: &Path,
    size: u64,
    algorithm: HashAlgorithm,
    buffer: &mut [u8],
    bar: &ProgressBar,
) -> io::Result<String> {
    // What was a regular file a moment ago may be a link or a pipe by now.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let first = file.read(buffer)?;
    bar.inc(first as u64);
    if first as u64 == size && first < buffer.len() {
        return Ok(algorithm.digest(&[&buffer[..first]]).to_hex());
    }
    let mut digest = RunningDigest::new(algorithm);
    let mut count = first;
    while count > 0 {
        digest.update(&buffer[..count]);
        count = file.read(buffer)?;
        bar.inc(count as u64);
    }
    Ok(digest.finish())
}

fn progress_bar(files: &[PlannedFile], display: ProgressDisplay) -> ProgressBar {
    match display {
        ProgressDisplay::Hidden => ProgressBar::hidden(),
        ProgressDisplay::Bar => {
            let bar = ProgressBar::new(files.iter().map(|file| file.size).sum());
            let template = "{msg} [{bar:32}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(format!("digesting {} files", files.len()));
            bar
        }
    }
}

/// A digest of bytes that come in pieces.
pub enum RunningDigest {
    /// On the main provider.
    Provider(Context),
    /// SM3, which it lacks.
    Sm3(sm3::Sm3),
}

impl RunningDigest {
    /// Nothing taken in yet.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha1 => Self::Provider(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            HashAlgorithm::Sha256 => Self::Provider(Context::new(&SHA256)),
            HashAlgorithm::Sha384 => Self::Provider(Context::new(&SHA384)),
            HashAlgorithm::Sha512 => Self::Provider(Context::new(&SHA512)),
            HashAlgorithm::Sm3_256 => Self::Sm3(sm3::Sm3::new()),
        }
    }

    /// Takes in a piece.
    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Provider(context) => context.update(piece),
            Self::Sm3(digest) => digest.update(piece),
        }
    }

    /// The digest in lower-case hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        match self {
            Self::Provider(context) => hex::encode(context.finish()),
            Self::Sm3(digest) => hex::encode(digest.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_size_are_digested_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let contents = [vec![], vec![7; CHUNK - 1], vec![7; CHUNK], vec![9; 3 * CHUNK + 5]];
        for algorithm in HashAlgorithm::ALL {
            let files = contents.iter().enumerate().map(|(at, content)| {
                let path = directory.path().join(at.to_string());
                std::fs::write(&path, content).unwrap();
                PlannedFile { path, key: format!("/{at}"), size: content.len() as u64 }
            });
            let mut files: Vec<_> = files.collect();
            files.push(PlannedFile { path: directory.path().join("gone"), key: "/gone".to_owned(), size: 0 });
            let found = digest_files(files, algorithm, ProgressDisplay::Hidden);
            assert_eq!(found.unreadable.len(), 1);
            for (at, content) in contents.iter().enumerate() {
                assert_eq!(found.digests[at], (format!("/{at}"), algorithm.digest(&[content]).to_hex()));
            }
        }
    }
}
