//! Writing a configuration file: the old one is kept beside it, and secrets stay with their owner.

use crate::error::UpgradeError;
use crate::journal::Journal;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Mode of new files: they hold passwords.
const NEW_FILE_MODE: u32 = 0o600;

/// Writes `text` to `path`. A file that is there is first copied to `<path>.bkp`, with its owner and mode; if that fails, it is
/// left alone.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, component: &str, text: &str, journal: &Journal) -> Result<(), UpgradeError> {
    let is_new = !path.exists();
    if !is_new {
        let backup = PathBuf::from(format!("{}.bkp", path.display()));
        if let Err(error) = back_up(path, &backup) {
            journal.error(&format!("Could not create backup file {}, aborting: {error}", backup.display()));
            return Ok(());
        }
    }
    journal.info(&format!("Writing {component} configuration to {}", path.display()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(NEW_FILE_MODE);
    let mut file = options.open(path).map_err(UpgradeError::file(path))?;
    if is_new {
        take_owner(&file, path);
    }
    file.write_all(text.as_bytes()).map_err(UpgradeError::file(path))
}

fn back_up(path: &Path, backup: &Path) -> std::io::Result<()> {
    let old = fs::metadata(path)?;
    if backup.exists() {
        fs::remove_file(backup)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(NEW_FILE_MODE).open(backup)?;
    std::io::copy(&mut File::open(path)?, &mut file)?;
    // Only root can give a file away; anybody else owns the copy, as they could read the original.
    let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    file.set_permissions(Permissions::from_mode(old.permissions().mode() & 0o7777))
}

/// A new file belongs to whom the directory belongs to, when root writes it: the services read it as that user.
fn take_owner(file: &File, path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(directory) = fs::metadata(directory)
        && nix::unistd::geteuid().is_root()
    {
        let _ = fchown(file, Some(directory.uid()), Some(directory.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Detail;

    #[test]
    fn the_old_file_is_kept_with_its_mode_and_new_files_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verifier.conf");
        let journal = Journal::new(Detail::Quiet);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        write(&path, "verifier", "one\n", &journal).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        let backup = directory.path().join("verifier.conf.bkp");
        fs::write(&backup, "older").unwrap();
        if nix::unistd::geteuid().is_root() {
            write(&path, "verifier", "two\n", &journal).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
            assert_eq!(
                (fs::read_to_string(&backup).unwrap().as_str(), mode(&backup), mode(&path)),
                ("one\n", 0o440, 0o440)
            );
        }
    }
}
