//! Boot time and boot id of the machine that is played, in the files of the kernel's process directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Seconds between two boots.
const BETWEEN_BOOTS: u64 = 3600;
/// When the first boot was: 2026-01-01.
const FIRST_BOOT: u64 = 1_767_225_600;

/// The files.
#[derive(Debug)]
pub struct MachineBoot {
    directory: PathBuf,
    number: u64,
}

impl MachineBoot {
    /// Boots the machine for the first time.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn first(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory.join("sys/kernel/random"))?;
        let boot = Self { directory: directory.to_owned(), number: 0 };
        boot.write()?;
        Ok(boot)
    }

    /// Boots it once more.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn reboot(&mut self) -> io::Result<()> {
        self.number += 1;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let seconds = FIRST_BOOT + self.number * BETWEEN_BOOTS;
        fs::write(self.directory.join("stat"), format!("cpu 0 0 0 0\nbtime {seconds}\n"))?;
        fs::write(self.directory.join("sys/kernel/random/boot_id"), format!("boot-{}\n", self.number))
    }
}
