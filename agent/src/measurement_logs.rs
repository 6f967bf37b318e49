//! The two logs an agent sends along with quotes, opened before privileges are dropped.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::measurement_list::{MeasurementList, MeasurementPart};

/// Largest firmware log sent, in bytes.
const MAX_BOOT_LOG_BYTES: u64 = 16 << 20;

/// The kernel's and the firmware's log, opened before privileges were dropped.
#[derive(Clone, Default)]
pub struct MeasurementLogs {
    ima: Option<Arc<Mutex<MeasurementList>>>,
    boot: Option<Arc<Mutex<File>>>,
}

impl MeasurementLogs {
    /// Takes what could be opened.
    #[must_use]
    pub fn new(ima: Option<MeasurementList>, boot: Option<File>) -> Self {
        let shared = |list| Arc::new(Mutex::new(list));
        Self { ima: ima.map(shared), boot: boot.map(|file| Arc::new(Mutex::new(file))) }
    }

    /// The IMA list from an entry on, if there is a list. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn ima_from(&self, entry: u64) -> io::Result<Option<MeasurementPart>> {
        let Some(list) = &self.ima else {
            return Ok(None);
        };
        list.lock().unwrap_or_else(PoisonError::into_inner).read_from(entry).map(Some)
    }

    /// Opens both logs, which may need privileges; one that cannot be opened is left out with a warning.
    #[must_use]
    pub fn open(ima_list: &Path, boot_log: &Path) -> Self {
        fn opened<T>(path: &Path, result: io::Result<T>) -> Option<T> {
            result
                .inspect_err(|error| {
                    tracing::warn!(target: "keylime.agent", path = %path.display(), %error, "measurement log not accessible");
                })
                .ok()
        }
        Self::new(opened(ima_list, MeasurementList::open(ima_list)), opened(boot_log, File::open(boot_log)))
    }

    /// How many complete entries the IMA list has; none without a list. Blocks.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn ima_entry_count(&self) -> io::Result<Option<u64>> {
        let Some(list) = &self.ima else {
            return Ok(None);
        };
        list.lock().unwrap_or_else(PoisonError::into_inner).entry_count().map(Some)
    }

    /// The whole firmware log, if there is one. Blocks.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn boot_log(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &self.boot else {
            return Ok(None);
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(0))?;
        let mut content = Vec::new();
        (&mut *file).take(MAX_BOOT_LOG_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_BOOT_LOG_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(content))
    }
}
