//! Where the certificates of TPM manufacturers are, found out when they are first needed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The directory of the certificate store. It is an option of the tenant's file, which a registrar opens only when a machine
/// brings certificates that the store has to judge.
#[derive(Clone)]
pub struct StoreLocation {
    find: Arc<dyn Fn() -> io::Result<PathBuf> + Send + Sync>,
    found: Arc<OnceLock<PathBuf>>,
}

impl StoreLocation {
    /// A known directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self::found_by(move || Ok(directory.clone()))
    }

    /// A directory that `find` tells; it is asked until it has an answer.
    #[must_use]
    pub fn found_by(find: impl Fn() -> io::Result<PathBuf> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), found: Arc::default() }
    }

    /// The directory. May read files.
    ///
    /// # Errors
    /// What `find` says.
    pub fn path(&self) -> io::Result<PathBuf> {
        if let Some(path) = self.found.get() {
            return Ok(path.clone());
        }
        let path = (self.find)()?;
        Ok(self.found.get_or_init(|| path).clone())
    }
}

impl fmt::Debug for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreLocation").field(&self.found.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn it_is_looked_for_when_needed_until_it_is_found() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let location = StoreLocation::found_by(move || match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::Error::other("not yet")),
            _ => Ok("/store".into()),
        });
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert!(location.path().is_err());
        assert_eq!((location.path().unwrap(), location.clone().path().unwrap()), ("/store".into(), "/store".into()));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
