//! Finds the files of a root file system that a policy should list (`policy-tools.md` §2.1).

use crate::environment::{Environment, is_directory};
use crate::file_digests::PlannedFile;
use crate::mount_table;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Directories below the root that hold no installed files.
const LEFT_OUT: [&str; 10] =
    ["/sys", "/run", "/proc", "/lost+found", "/dev", "/media", "/snap", "/mnt", "/var", "/tmp"];

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files to digest, sorted by path.
    pub files: Vec<PlannedFile>,
    /// Messages for the user.
    pub warnings: Vec<String>,
    /// Why there is nothing to digest, if that is an error.
    pub refusal: Option<String>,
    /// Messages for those who look for the cause of something.
    pub details: Vec<String>,
}

/// Finds regular files that belong to root; symbolic links, directories to skip and foreign mounts are left out.
#[must_use]
pub fn scan(environment: &Environment, given: &str, skipped: &str) -> Scan {
    let root = environment.absolute(given);
    let mut scan = Scan::default();
    let Some(mut left_out) = left_out(environment, &root, given, skipped, &mut scan) else { return scan };
    if !is_directory(&root) {
        scan.refusal = Some(format!("Invalid path, {} is not a directory", root.display()));
        return scan;
    }
    let table = std::fs::read_to_string(mount_table::TABLE).unwrap_or_default();
    left_out.extend(mount_table::foreign_mount_points(&table, &left_out));
    let walk = Walk {
        prefix: if root == Path::new("/") { 0 } else { root.as_os_str().len() },
        left_out: left_out.into_iter().map(OsString::from).collect(),
        files: Mutex::default(),
        details: Mutex::default(),
    };
    rayon::scope(|scope| walk.directory(scope, root));
    scan.files = walk.files.into_inner().unwrap_or_default().into_iter().flatten().collect();
    rayon::slice::ParallelSliceMut::par_sort_unstable_by(&mut scan.files[..], |a, b| a.key.cmp(&b.key));
    scan.details.extend(walk.details.into_inner().unwrap_or_default());
    scan
}

/// The directories to leave out, relative to the root; `None` when the root itself is to be skipped.
fn left_out(
    environment: &Environment,
    root: &Path,
    given: &str,
    skipped: &str,
    scan: &mut Scan,
) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for item in skipped.split(',').filter(|_| !skipped.is_empty()) {
        let path = environment.absolute(item);
        if root.starts_with(&path) {
            let (root, path) = (root.display(), path.display());
            scan.details.push(format!("the root {root} is not scanned because it lies in {path}, which is skipped"));
            return None;
        }
        if !Path::new(item).starts_with(given) {
            scan.warnings
                .push(format!("Ignoring directory '{item}' that should be skipped, but it is not under '{given}'"));
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(format!("/{}", relative.to_string_lossy()));
        }
    }
    found.extend(LEFT_OUT.map(str::to_owned));
    Some(found)
}

struct Walk {
    prefix: usize,
    left_out: HashSet<OsString>,
    files: Mutex<Vec<Vec<PlannedFile>>>,
    details: Mutex<Vec<String>>,
}

impl Walk {
    fn directory<'w>(&'w self, scope: &rayon::Scope<'w>, path: PathBuf) {
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => return self.detail(format!("cannot look into {}: {error}", path.display())),
        };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let path = entry.path();
                    if self.is_left_out(&path) {
                        self.detail(format!("leaving out {}", path.display()));
                    } else {
                        scope.spawn(move |scope| self.directory(scope, path));
                    }
                }
                Ok(kind) if kind.is_file() => files.extend(self.file(&entry)),
                Ok(_) | Err(_) => {}
            }
        }
        if let Ok(mut all) = self.files.lock() {
            all.push(files);
        }
    }

    fn file(&self, entry: &DirEntry) -> Option<PlannedFile> {
        let metadata = entry.metadata().ok().filter(|metadata| metadata.uid() == 0)?;
        let path = entry.path();
        let key = measured_name(&path.as_os_str().as_bytes()[self.prefix..]);
        Some(PlannedFile { path, key, size: metadata.size() })
    }

    fn is_left_out(&self, path: &Path) -> bool {
        let relative = std::ffi::OsStr::from_bytes(&path.as_os_str().as_bytes()[self.prefix..]);
        self.left_out.contains(relative)
    }

    fn detail(&self, message: String) {
        if let Ok(mut details) = self.details.lock() {
            details.push(message);
        }
    }
}

/// A path as it stands in measurement lists that agents send: underscores for spaces, replacement characters for bytes
/// that are no UTF-8.
#[must_use]
pub fn measured_name(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace(' ', "_")
}
