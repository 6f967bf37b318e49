//! A repository of RPM packages as a distribution's is: many small packages with tens of files each, unsigned.

use crate::fleet::FleetError;
use rpm::{FileOptions, PackageBuilder};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes `packages` packages of `files` files each, and the repository's index, into a directory.
///
/// # Errors
/// A package cannot be made or written.
pub fn write(directory: &Path, packages: u32, files: u32) -> Result<(), FleetError> {
    fs::create_dir_all(directory.join("repodata"))?;
    fs::create_dir_all(directory.join("Packages"))?;
    fs::write(
        directory.join("repodata/repomd.xml"),
        "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"></repomd>",
    )?;
    let (next, threads) = (AtomicU32::new(0), std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= packages {
                    return Ok(());
                }
                write_package(directory, number, files)?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| FleetError::Setup("a package could not be made".to_owned()))?
        })
    })
}

fn write_package(directory: &Path, number: u32, files: u32) -> Result<(), FleetError> {
    let failed = |error: rpm::Error| FleetError::Setup(format!("package {number}: {error}"));
    let name = format!("package{number}");
    let mut builder = PackageBuilder::new(&name, "1.0", "MIT", "noarch", "one of many");
    builder.using_config(rpm::BuildConfig::default().compression(rpm::CompressionType::None));
    builder.with_dir_entry(FileOptions::dir(format!("/usr/share/{name}"))).map_err(failed)?;
    for file in 0..files {
        let options = FileOptions::new(format!("/usr/share/{name}/file-{file}"));
        builder.with_file_contents(format!("{number} {file}\n").repeat(16), options).map_err(failed)?;
    }
    let mut bytes = Vec::new();
    builder.build().and_then(|package| package.write(&mut bytes)).map_err(failed)?;
    Ok(fs::write(directory.join(format!("Packages/{name}.rpm")), bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_holds_its_packages() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 3, 2).unwrap();
        assert_eq!(fs::read_dir(directory.path().join("Packages")).unwrap().count(), 3);
        let package = rpm::Package::open(directory.path().join("Packages/package2.rpm")).unwrap();
        assert_eq!(package.metadata.get_file_entries().unwrap().len(), 3);
    }
}
