//! Repositories in a directory.

use super::header::{Extent, HeaderError, extent, file_digests};
use super::{RepositoryDigests, RepositoryError, UNSIGNED, signature};
use crate::environment::is_directory;
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Bytes of a package that are read at first; most headers fit.
const FIRST_READ: usize = 64 << 10;

/// Largest file of metadata, in bytes.
const MAX_METADATA: u64 = 64 << 20;

/// The digests that the packages below a directory list.
///
/// # Errors
/// See [`RepositoryError`].
pub fn digests_of_directory(root: &Path, workers: NonZeroUsize) -> Result<RepositoryDigests, RepositoryError> {
    let mut found = RepositoryDigests::default();
    let metadata = root.join("repodata");
    for directory in [root, &metadata] {
        if !directory.exists() {
            return Err(RepositoryError::Missing(directory.display().to_string()));
        }
    }
    let index = metadata.join("repomd.xml");
    if !index.exists() {
        return Err(RepositoryError::NotFound(index.display().to_string()));
    }
    let signature_file = metadata.join("repomd.xml.asc");
    if signature_file.exists() {
        let key = metadata.join("repomd.xml.key");
        if !key.exists() {
            return Err(RepositoryError::KeyMissing(key.display().to_string()));
        }
        signature::verify(&read(&key)?, &read(&signature_file)?, &read(&index)?)?;
    } else {
        found.warnings.push(UNSIGNED.to_owned());
    }
    let mut packages = Vec::new();
    collect_packages(root, &mut packages)?;
    packages.sort();
    let read_package = |path: &PathBuf| {
        package_digests(path).map_err(|error| RepositoryError::Package(path.display().to_string(), error))
    };
    let all: Result<Vec<_>, _> = match pool(workers) {
        Some(pool) => pool.install(|| packages.par_iter().map(read_package).collect()),
        None => packages.iter().map(read_package).collect(),
    };
    for (path, digest) in all?.into_iter().flatten() {
        found.digests.add(path, digest);
    }
    Ok(found)
}

/// A pool of so many workers, at most one a processor; without it the work is done by this thread.
fn pool(workers: NonZeroUsize) -> Option<rayon::ThreadPool> {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    rayon::ThreadPoolBuilder::new().num_threads(workers.min(processors).get()).build().ok()
}

fn collect_packages(directory: &Path, packages: &mut Vec<PathBuf>) -> Result<(), RepositoryError> {
    let fail = |error| RepositoryError::Unreadable(directory.display().to_string(), error);
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            collect_packages(&path, packages)?;
        } else if path.extension().is_some_and(|extension| extension == "rpm") && !is_directory(&path) {
            packages.push(path);
        }
    }
    Ok(())
}

fn package_digests(path: &Path) -> Result<Vec<(String, String)>, HeaderError> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(FIRST_READ);
    let mut wanted = FIRST_READ;
    loop {
        let missing = wanted.saturating_sub(bytes.len());
        file.by_ref().take(missing as u64).read_to_end(&mut bytes)?;
        match extent(&bytes)? {
            Extent::Complete(_) => return file_digests(&bytes),
            Extent::AtLeast(_) if bytes.len() < wanted => return Err(HeaderError::Short),
            Extent::AtLeast(more) => wanted = more,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RepositoryError> {
    let fail = |error: io::Error| RepositoryError::Unreadable(path.display().to_string(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(MAX_METADATA).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
